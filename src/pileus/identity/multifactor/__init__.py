"""Several methods in one login: passcodes, the rules that ask for them, receipts for a part of them."""

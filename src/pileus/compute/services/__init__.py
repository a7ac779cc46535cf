"""Services: the processes of the cloud as administrators see them."""

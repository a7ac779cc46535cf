"""What is done to images between their arrival and their stores."""

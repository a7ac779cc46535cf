"""The hosts of the cloud: who they are, what they last said, and the API through which their agents say it."""

"""Images and files by the hash of their bytes: kept, fetched from where a message says, and decoded at arm's length."""

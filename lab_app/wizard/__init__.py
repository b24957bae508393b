"""The steps of the Train page: each shows and edits one part of a study's table."""

"""The storage room: the database of records, the audit log's files, and the node's shared quota table."""

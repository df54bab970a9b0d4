"""The door of external key stores: the AWS KMS XKS proxy API, version 1, over HTTPS.

From the wire inwards: `server` and `connection` (HTTP/1.1, by uvicorn), `application` (one request in
time), `door` (one call: who, what, until when), `routes`, `requests` and `replies` (paths and JSON),
`errors` (the table of errors), `tls`, `interfaces` (what the door tells of the core).
"""

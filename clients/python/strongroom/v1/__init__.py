"""The generated messages and stubs of the API strongroom.v1; made by scripts/gen-protos, never by hand."""

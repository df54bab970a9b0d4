"""The command line `strongroom`: every call of the API has a verb, see `strongroom.cli.verbs`."""

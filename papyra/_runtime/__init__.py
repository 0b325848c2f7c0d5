"""The running half of the runtime: cells, mailboxes, supervision, the recorder."""

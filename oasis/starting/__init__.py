"""Starting: files with which a training begins: the quickstarts of the adapters, and an adapter of one's own."""

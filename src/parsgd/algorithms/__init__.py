"""Algorithms: the work of each worker, the quorum of the driver, and the merge of reports."""

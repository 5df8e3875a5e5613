"""Contracts as files: what tables promise, for readers, tools and other engines that never load our code.

The Pandera models remain the one description; files and expectation suites are made from them and compared with them.
"""

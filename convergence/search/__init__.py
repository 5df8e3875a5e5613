"""Text, images and code in one search: sparse and dense vectors, the engines that hold them, snapshots of both."""

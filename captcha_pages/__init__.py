"""The pages that a browser shows: label pictures, check suspected labels, try a network.

server      answers only its own pages, within limits, and refuses in words
tables      CSV files of files: every change is on the disk when it returns
pictures    the pictures of a folder, and what a network predicts for them
labelling   the labelling page, and the suspected labels on the same page
network     the network of the try-out page
reading     the try-out page: draw, read, and where the network looked
"""

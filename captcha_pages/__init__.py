"""The pages that a browser shows: label pictures, check suspected labels, type captchas, try a network.

server          serves the pages, limits requests, and explains what it refuses
guard           refuses requests of other web sites
tables          CSV files with one row for each file; every change is on the disk when the call returns
pictures        the pictures of a folder, and what a network predicts for them
labelling       the labelling page
checking        the same for suspected labels
transcription   the page on which a person types captchas
network         the network that the try-out page uses
reading         the try-out page: draw, read, and where the network looked
"""

NEEDED = ("filelock", "jinja2", "starlette", "uvicorn")  # the packages of the extra
MISSING = f'the pages need more packages: pip install {" ".join(NEEDED)}, or pip install ".[pages]"'

"""How a set of captchas gets onto the disk.

draw        one captcha, seeded, by whatever function draws it
library     the default drawer: the captcha library's
styles      a drawer of many styles; glyphs, clutter, damage: what it draws
pool        many captchas, on all cores
shards      TFRecord files
manifest    what a split holds
commands    the command lines that messages advise
drawing     a split of drawn captchas
replace     a new split put in the place of an earlier one
pixels      the decoded images of a split, mapped into memory
labels      what a label may be, and the CSV file of labels
labelled    images that people label themselves: checks, and what they hold
importing   splits made of such images
sheet       look at a split: counts, and a picture of samples
beam        a split drawn on a cluster, with Apache Beam
files       files that are complete or absent: checksums, syncs, locks
"""

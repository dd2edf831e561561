# make train        set up, draw missing or outdated splits, set an outdated run aside, train, evaluate
# make test         set up and run the fast tests     make test-all   set up and run all tests
# make setup        only set up, into .venv           make check      ruff
# make bench        the benchmarks, hours             make faults     a thousand injected faults, 20 minutes
# make fuzz         read a hundred thousand broken and hostile files
# make power        cut the power at every moment of recorded saves (needs strace)
# make models       train the shipped networks anew, hours
# make starter      train the starter network, hours; can be stopped and resumed
# make tensorboard  watch the training in a browser
# make notebook     run docs/tutorial.ipynb and keep its outputs

PYTHON ?= python3
RUN := .venv/bin/python

.PHONY: train setup test test-all tensorboard faults power fuzz check bench models starter notebook

train: .venv/.done
	$(RUN) captcha_producer.py --update
	$(RUN) captcha_train.py --set-aside
	$(RUN) captcha_evaluate.py
	$(RUN) captcha_evaluate.py --fresh 20000

setup: .venv/.done

# The mark is made last: an interrupted set-up is repeated.
.venv/.done: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and "Python 3.10 to 3.13 is needed; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/.done-dev: requirements-dev.txt .venv/.done
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

test: .venv/.done-dev
	$(RUN) -m pytest -n 2 --dist loadfile -m "not slow"

test-all: .venv/.done-dev
	$(RUN) -m pytest -n 2 --dist loadfile

faults: .venv/.done-dev
	$(RUN) tests/faults/faults.py --count 1000

fuzz: .venv/.done-dev
	$(RUN) tests/fuzz/fuzz.py --count 100000

power: .venv/.done-dev
	$(RUN) tests/power/power_cuts.py

tensorboard: .venv/.done
	$(RUN) -m tensorboard.main --logdir save

notebook: .venv/.done-dev
	$(RUN) docs/tutorial.py

check: .venv/.done-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

bench: .venv/.done
	$(RUN) benchmarks/producer.py
	$(RUN) benchmarks/sprint.py
	$(RUN) benchmarks/growth.py
	$(RUN) benchmarks/saving.py
	$(RUN) benchmarks/reading.py
	$(RUN) benchmarks/stock.py
	$(RUN) benchmarks/logging_cost.py
	$(RUN) benchmarks/gpu.py
	$(RUN) benchmarks/scale.py
	$(RUN) benchmarks/summit.py
	$(RUN) benchmarks/pixels.py
	$(RUN) benchmarks/own_style.py

LETTERS := --characters 0123456789abcdefghijklmnopqrstuvwxyz --width 100 --height 60
SIZES := --font_sizes 40 42 50 56 --canvas_sizes
MIXED := --drawer captcha_sets.library:draw_one_or_mixed
FULL_SIZE := --no-input_downsampling --channels 8 24 32 64 64
LONG := --batch_size 128 --eval_every 1000 --save_every 500
DRAW := $(RUN) captcha_producer.py --no-images
CAPITALS := --train_count 300000 --validation_count 10000 --characters 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ --oversample_characters 0O $(MIXED) $(SIZES) 128x64 128x64 160x60

# Of the capitals O and 0 are hardest, so the network learns these two alone first, and then sees them more often. Its
# learning rate goes through three cycles, the last one on new captchas.
# A canvas size that is named twice is drawn twice as often.
models: .venv/.done
	$(DRAW) --tfrecords_dir tfrecords/digits --train_count 300000 --validation_count 10000 $(SIZES) 128x64 128x64 160x60 160x60 100x60
	$(RUN) captcha_train.py --tfrecords_dir tfrecords/digits --save_dir save/digits $(LONG) --max_steps 10000 --channels 8 24 32 48 48
	$(DRAW) --tfrecords_dir tfrecords/o0 --train_count 200000 --validation_count 2000 --characters 0O $(MIXED) $(SIZES) 128x64 128x64 160x60
	$(RUN) captcha_train.py --tfrecords_dir tfrecords/o0 --save_dir save/o0 $(LONG) --max_steps 4000 $(FULL_SIZE)
	$(DRAW) --tfrecords_dir tfrecords/capitals-1 $(CAPITALS)
	test -e save/capitals-1/model.tflite || $(RUN) captcha_train.py --tfrecords_dir tfrecords/capitals-1 --save_dir save/capitals-1 $(LONG) --max_steps 10000 --learning_rate 0.004 --init_from save/o0
	$(RUN) captcha_train.py --tfrecords_dir tfrecords/capitals-1 --save_dir save/capitals-1 $(LONG) --max_steps 20000 --learning_rate 0.004 --init_from save/o0
	$(DRAW) --tfrecords_dir tfrecords/capitals $(CAPITALS) --seed 2
	$(RUN) captcha_train.py --tfrecords_dir tfrecords/capitals --save_dir save/capitals $(LONG) --max_steps 10000 --learning_rate 0.003 --init_from save/capitals-1
	$(DRAW) --tfrecords_dir tfrecords/letters --train_count 200000 --validation_count 5000 $(LETTERS) $(MIXED) $(SIZES) 100x60 100x60 160x60
	$(RUN) captcha_train.py --tfrecords_dir tfrecords/letters --save_dir save/letters $(LONG) --max_steps 5000 $(FULL_SIZE)
	for name in digits capitals letters; do \
		$(RUN) captcha_export.py --tfrecords_dir tfrecords/$$name --save_dir save/$$name --to weights/$$name && \
		mv weights/$$name/model.tflite captcha_predict/models/$$name.tflite || exit 1; \
	done

STARTER_FONTS := benchmarks/starter_fonts.txt
STARTER_SIZES := 90x30 100x30 100x40 120x40 120x60 130x53 140x70 150x50 160x60 160x80 180x60 200x70 200x80 240x80 250x60 280x80 300x100
STARTER := --tfrecords_dir tfrecords/starter --save_dir save/starter
STYLES = $(DRAW) --width 192 --height 64 --characters 0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ \
	--min_length 3 --length 8 --drawer captcha_sets.styles:draw --fonts $$(cat $(STARTER_FONTS)) --canvas_sizes $(STARTER_SIZES)

# It can be stopped and resumed. Its fonts are in Debian's packages that benchmarks/starter_fonts.packages lists.
# Three cycles of the learning rate, each on captchas of its own. The second starts from the first one's network, the third
# from the network between these two. What ships lies between the start and the end of the third. docs/results.md says
# what differed when it was trained.
starter: .venv/.done
	$(STYLES) --tfrecords_dir tfrecords/starter-1 --train_count 300000 --validation_count 5000
	$(STYLES) --tfrecords_dir tfrecords/starter-2 --seed 3 --train_count 140000 --validation_count 3000
	$(STYLES) --tfrecords_dir tfrecords/starter --seed 4 --train_count 250000 --validation_count 3000
	$(RUN) captcha_train.py --tfrecords_dir tfrecords/starter-1 --save_dir save/starter-1 --max_steps 12000 --batch_size 128 \
		--learning_rate 0.004 --eval_every 1000 --save_every 500 --no-input_downsampling --input_color \
		--channels 16 32 64 128 128 128 --head_units 32 128
	$(RUN) captcha_train.py --tfrecords_dir tfrecords/starter-2 --save_dir save/starter-2 --init_from save/starter-1 --max_steps 3000 \
		--batch_size 128 --learning_rate 0.001 --eval_every 500 --save_every 250
	$(RUN) -m captcha_runs.interpolation save/starter-1 save/starter-2 --share 0.3 --tfrecords_dir tfrecords/starter-2 --save_dir save/starter-1-2
	$(RUN) captcha_train.py --tfrecords_dir tfrecords/starter --save_dir save/starter-3 --init_from save/starter-1-2 --max_steps 10000 \
		--batch_size 128 --learning_rate 0.003 --eval_every 1000 --save_every 250 --precision bfloat16
	$(RUN) -m captcha_runs.interpolation save/starter-1-2 save/starter-3 --share 0.5 --tfrecords_dir tfrecords/starter --save_dir save/starter
	$(RUN) benchmarks/development_styles.py images/development --labelled 500
	$(RUN) captcha_export.py $(STARTER) --to weights/starter --calibrate_on images/development --one_alphabet
	mv weights/starter/model.tflite captcha_predict/models/starter.tflite

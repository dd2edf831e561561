# make train   the main job: set up, draw the two sets where they are missing, train, evaluate
# make test    set up and pass the tests          make check   ruff
# make setup   the set-up alone, into .venv       make bench   the benchmarks, half an hour
# make tensorboard  watch training, in a browser
# make models  make the networks that ship anew, two hours
# make faults  a thousand injected faults, some 20 minutes

PYTHON ?= python3
RUN := .venv/bin/python

.PHONY: train setup test tensorboard faults check bench models

train: tfrecords/train.json tfrecords/validation.json
	$(RUN) captcha_train.py
	$(RUN) captcha_evaluate.py
	$(RUN) captcha_evaluate.py --fresh 20000

tfrecords/train.json: | .venv/.done
	$(RUN) captcha_producer.py -n 30000 -p images/train

tfrecords/validation.json: | .venv/.done
	$(RUN) captcha_producer.py -n 3000 -p images/validation

setup: .venv/.done

# The mark is made last: an interrupted set-up is taken up again.
.venv/.done: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed; name one: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/.done-dev: requirements-dev.txt .venv/.done
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

test: .venv/.done-dev
	$(RUN) -m pytest -n 2 --dist loadfile

faults: .venv/.done-dev
	$(RUN) tests/faults/faults.py --count 1000

tensorboard: .venv/.done
	$(RUN) -m tensorboard.main --logdir save

check: .venv/.done-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

bench: .venv/.done
	$(RUN) benchmarks/producer.py
	$(RUN) benchmarks/sprint.py
	$(RUN) benchmarks/saving.py
	$(RUN) benchmarks/reading.py
	$(RUN) benchmarks/logging_cost.py
	$(RUN) benchmarks/gpu.py
	$(RUN) benchmarks/scale.py
	$(RUN) benchmarks/summit.py

LETTERS := --characters 0123456789abcdefghijklmnopqrstuvwxyz --width 100 --height 60
CAPITALS := --characters 0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ
FULL := --full_size --channels 8 24 32 64 64
LONG := --memory_budget 4096 --batch_size 128 --eval_every 1000 --save_every 1000

# In capitals O and 0 are hardest, so the network first learns these two alone, and then sees more of them than of others.
models: .venv/.done
	$(RUN) captcha_producer.py -n 300000 -p images/digits/train --no-images --tfrecords_dir tfrecords/digits
	$(RUN) captcha_producer.py -n 10000 -p images/digits/validation --no-images --tfrecords_dir tfrecords/digits
	$(RUN) captcha_train.py --tfrecords_dir tfrecords/digits --save_dir save/digits $(LONG) --max_steps 15000 --channels 16 32 64 64 64
	$(RUN) captcha_export.py --tfrecords_dir tfrecords/digits --save_dir save/digits --to captcha_models/digits
	$(RUN) captcha_producer.py -n 300000 -p images/o0/train --no-images --tfrecords_dir tfrecords/o0 --characters 0O
	$(RUN) captcha_producer.py -n 2000 -p images/o0/validation --no-images --tfrecords_dir tfrecords/o0 --characters 0O
	$(RUN) captcha_train.py --tfrecords_dir tfrecords/o0 --save_dir save/o0 $(LONG) --max_steps 6000 $(FULL) --characters 0O
	$(RUN) captcha_producer.py -n 300000 -p images/capitals/train --no-images --tfrecords_dir tfrecords/capitals $(CAPITALS) --often 0O
	$(RUN) captcha_producer.py -n 10000 -p images/capitals/validation --no-images --tfrecords_dir tfrecords/capitals $(CAPITALS)
	$(RUN) captcha_train.py --tfrecords_dir tfrecords/capitals --save_dir save/capitals $(LONG) --max_steps 10000 --learning_rate 0.004 $(FULL) --init_from save/o0 $(CAPITALS)
	$(RUN) captcha_export.py --tfrecords_dir tfrecords/capitals --save_dir save/capitals --to captcha_models/capitals
	$(RUN) captcha_producer.py -n 60000 -p images/letters/train --no-images --tfrecords_dir tfrecords/letters $(LETTERS)
	$(RUN) captcha_producer.py -n 3000 -p images/letters/validation --no-images --tfrecords_dir tfrecords/letters $(LETTERS)
	$(RUN) captcha_train.py --tfrecords_dir tfrecords/letters --save_dir save/letters $(LONG) --max_steps 3000 --channels 16 32 64 64 64 $(LETTERS)
	$(RUN) captcha_export.py --tfrecords_dir tfrecords/letters --save_dir save/letters --to captcha_models/letters

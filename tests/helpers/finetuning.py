"""A text with new characters, and words that fine-tune a run."""

NEW = ["--device=cpu", "--set=train.seq_length=8", "--set=train.batch_size=2", "--set=log.sample_every=0"]
TUNE = [*NEW, "--set=log.eval_every=5", "--set=log.checkpoint_every=5", "--steps=10"]
FRENCH = "sèche, l'été, les halles; hé! les elles\n" * 9

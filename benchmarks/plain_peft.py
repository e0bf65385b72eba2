"""A plain peft script, beside which benchmarks/overhead.py times a run of the lab. It imports nothing of the lab.

It is peft's quick tour (LoraConfig, get_peft_model, TrainingArguments, Trainer) put together with transformers' tutorial on text classification
(`load_dataset`, `map` with truncation, DataCollatorWithPadding, accuracy), with their usual settings: rows in random order, a batch padded to its
longest row, one evaluation at the end, the adapter saved by `save_pretrained`. LoRA, learning rate, steps and rows per step are those of the lab's run.

    python benchmarks/plain_peft.py --model FOLDER --data FOLDER --out FOLDER [--steps 50] [--padding longest|max_length]

FOLDER of data: train.csv and validation.csv with columns text and label (0 or 1). On standard output: one JSON document.
"""

import argparse
import json

import numpy as np
from datasets import load_dataset
from peft import LoraConfig, TaskType, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of the base model")
    parser.add_argument("--data", required=True, help="folder of train.csv and validation.csv")
    parser.add_argument("--out", required=True, help="folder for the adapter")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=256, help="longer texts are cut")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--padding", choices=["longest", "max_length"], default="longest", help="pad a batch to its longest row, or every row to --length")
    given = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(given.model)
    model = AutoModelForSequenceClassification.from_pretrained(given.model, num_labels=2)
    config = LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16, lora_dropout=0.0, target_modules=["query", "value"])
    model = get_peft_model(model, config)

    data = load_dataset("csv", data_files={split: f"{given.data}/{split}.csv" for split in ("train", "validation")})
    padding = "max_length" if given.padding == "max_length" else False
    data = data.map(lambda rows: tokenizer(rows["text"], truncation=True, max_length=given.length, padding=padding), batched=True, remove_columns=["text"])

    def accuracy(predicted):
        return {"accuracy": float((np.argmax(predicted.predictions, axis=-1) == predicted.label_ids).mean())}

    arguments = TrainingArguments(
        output_dir=given.out, max_steps=given.steps, per_device_train_batch_size=given.batch, per_device_eval_batch_size=given.batch,
        learning_rate=given.lr, report_to="none", disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=arguments, train_dataset=data["train"], eval_dataset=data["validation"], processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer), compute_metrics=accuracy,
    )  # fmt: skip
    trained = trainer.train().metrics
    judged = trainer.evaluate()
    model.save_pretrained(given.out)
    print(json.dumps({"training_seconds": trained["train_runtime"], "evaluation_seconds": judged["eval_runtime"], "accuracy": judged["eval_accuracy"],
                      "trained": sum(p.numel() for p in model.parameters() if p.requires_grad)}))  # fmt: skip


if __name__ == "__main__":
    main()

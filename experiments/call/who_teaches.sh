#!/usr/bin/env bash
# Who teaches a student of calls: each teacher alone, half and half with the ground truth, and the
# ground truth alone, with equal budgets and three seeds.
#   experiments/call/who_teaches.sh DATA OUTPUT   then: held_out.py TRUTH_seed0=OUTPUT/... ...
set -euo pipefail
data=$1 output=$2
common="experiment=kd_call data=photos_bsds data.root=$data degradation.versions=3 student=student_tiny
    init_from=pretrained optimizer.lr=4e-3 data.crop_size=128 data.batch_size=8 data.samples_per_epoch=8000
    trainer.max_epochs=1 trainer.check_val_every_n_epoch=1 callbacks.pictures.every_n_epochs=100 logger=csv
    data.num_workers=0"
call="teacher=call teacher.tile=800 teacher.halo=36 teacher.precision=bf16"
train() { # name, arguments
    local name=$1
    shift
    for seed in 0 1 2; do
        [ -e "$output/${name}_seed$seed/student.safetensors" ] && continue
        # shellcheck disable=SC2086
        python train.py $common "$@" name="$name" seed=$seed run_folder="$output/${name}_seed$seed"
    done
}
train truth teacher=none loss.teacher_weight=0
train clean teacher=folder loss.teacher_weight=1
# shellcheck disable=SC2086
train call $call loss.teacher_weight=1
# shellcheck disable=SC2086
train call_half $call loss.teacher_weight=0.5
train clean_half teacher=folder loss.teacher_weight=0.5

#!/bin/bash
# Trains on several hosts of a Slurm cluster, a task for each GPU:
#
#     sbatch --nodes=2 --gpus-per-node=8 --ntasks-per-node=8 scripts/slurm_train.sh \
#         --config=configs/hrnet_coco.py --config.data.workers=8 --workdir=/shared/runs/hrnet
#
# The work directory and the data must be on a disk that all hosts see. Before the time limit Slurm
# sends SIGTERM; the run saves, ends with 143, and this script puts the job back into the queue,
# where it goes on from there.
#SBATCH --job-name=hrjax
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append

srun --kill-on-bad-exit=0 python -m hrjax.main --launcher=slurm "$@"
status=$?
if [ "$status" -eq 143 ]; then
    echo "preempted; back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"

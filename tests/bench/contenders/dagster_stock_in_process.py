"""Stock Dagster's code location with its in-process executor: a process for each run."""

from dagster import in_process_executor

from tests.bench.contenders.dagster_steps import definitions

defs = definitions(in_process_executor)

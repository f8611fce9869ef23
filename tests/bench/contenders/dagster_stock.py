"""Stock Dagster's code location: its default executor, a process for each step."""

from dagster import multi_or_in_process_executor

from tests.bench.contenders.dagster_steps import definitions

defs = definitions(multi_or_in_process_executor)

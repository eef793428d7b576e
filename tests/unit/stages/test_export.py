from training.runs import find_origin
from training.stages.export import describe_source


def test_a_file_exported_by_later_code_says_so():
    here = find_origin().git_commit
    assert describe_source(here) == "dvc repro"
    assert describe_source("0" * 40) == f"dvc repro, exported at {here}"

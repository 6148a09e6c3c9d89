"""What domain.py writes: tables, laws, figures and the page of results/domain."""


def write_record(folder, runs, planned):
    print(len(runs), planned)

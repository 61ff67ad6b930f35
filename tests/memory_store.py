"""A store in memory, with only what training needs of a run's folder."""


class Memory:
    """A store that keeps the lines of metrics and the last checkpoint."""

    path = resume_path = "memory"

    def __init__(self):
        self.metrics, self.state = [], None

    def trim_metrics(self, step):
        self.metrics = [record for record in self.metrics if record["step"] <= step]

    def append_metrics(self, record):
        self.metrics.append(record)

    def save_model(self, params, values):
        self.best = {name: array.copy() for name, array in params.items()}

    def save_resume(self, arrays, values):
        self.state = {name: array.copy() for name, array in arrays.items()}, values

"""Stand-in written for the tests: names and call structure of mit-han-lab/data-efficient-gans, none of its text."""


def open_file_or_url(file_or_url):
    return open(file_or_url, "rb")

"""Skips for want of a checkout or a GPU stand in a section of their own: never mistaken for passes."""


def skips_by_reason(reporter):
    reasons = {}
    for report in reporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid)
    if reasons:
        reporter.section("not run here")
        for reason, tests in sorted(reasons.items()):
            reporter.line(f"{len(tests):4d}  {reason}")

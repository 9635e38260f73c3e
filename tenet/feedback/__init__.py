"""People and judges compare answers: `tenet feedback` (a page, two answers, blind) and `tenet compare-answers` (a judge,
both orders)."""

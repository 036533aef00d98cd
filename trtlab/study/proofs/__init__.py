"""study/proofs: functions that a claim's proof calls by name where no kind fits, one file for each question."""

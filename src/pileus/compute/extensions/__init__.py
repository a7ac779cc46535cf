"""Extensions: the list that clients of old ask for."""

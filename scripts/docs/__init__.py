"""What makes the recordings, transcripts and pictures of the documents."""

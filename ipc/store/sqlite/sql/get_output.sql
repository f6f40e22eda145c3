-- Return a piece of one stream of an attempt's output, and its total size.
SELECT substr(data, :offset + 1, :limit) AS data, length(data) AS size FROM outputs WHERE claim = :claim AND stream = :stream

-- A piece of what the last try of a task wrote to one stream, and how long the whole is.
SELECT substr(data, :offset + 1, :limit) AS data, length(data) AS size FROM outputs WHERE claim = :claim AND stream = :stream

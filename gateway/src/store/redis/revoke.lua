-- Appends a revocation and hints at it.
-- KEYS: the list by number, the list by end, the last number. ARGV: the entry, its end, the channel.
local number = redis.call('INCR', KEYS[3])
redis.call('ZADD', KEYS[1], number, ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('PUBLISH', ARGV[3], number)
return number

-- Appends a revocation and hints at it.
-- KEYS: the list by number, the list by end, the last number. ARGV: the entry, its end, the channel.
local number = redis.call('INCR', KEYS[3])
-- A counter that Redis evicted must not give numbers again that replicas have read past.
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if last[2] and tonumber(last[2]) >= number then
  number = tonumber(last[2]) + 1
  redis.call('SET', KEYS[3], number)
end
redis.call('ZADD', KEYS[1], number, ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('PUBLISH', ARGV[3], number)
return number

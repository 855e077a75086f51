-- Appends a revocation and tells everybody of it.
-- KEYS: the list by number, the list by end, the last number, the digest of all that was appended, with
-- the number of the last. ARGV: the entry, its end, the channel.
local number = redis.call('INCR', KEYS[3])
-- A counter that Redis evicted must not give numbers again that replicas have read past.
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if last[2] and tonumber(last[2]) >= number then
  number = tonumber(last[2]) + 1
  redis.call('SET', KEYS[3], number)
end
-- Versions before 2026-12 keep no digest. After what one of them appended it begins anew, and whoever has
-- followed the one before reads everything once.
local covers, digest = string.match(redis.call('GET', KEYS[4]) or '', '^(%d+):(%x+)$')
if tonumber(covers) ~= number - 1 then digest = string.rep('0', 40) end
redis.call('ZADD', KEYS[1], number, ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('SET', KEYS[4], number .. ':' .. redis.sha1hex(digest .. '\n' .. ARGV[1]))
-- Versions before 2026-12 take whatever comes as a sign to look.
redis.call('PUBLISH', ARGV[3], number .. ' ' .. ARGV[1])
return number

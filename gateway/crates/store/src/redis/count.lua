-- Counts one event. KEYS: the count (a hash). ARGV: now, when a window that begins now ends, how
-- long Redis keeps the count, by how much clocks may differ.
local now, latest = tonumber(ARGV[1]), tonumber(ARGV[2])
local ends = tonumber(redis.call('HGET', KEYS[1], 'ends') or 0)
-- A window that would end much later than one begun now stems from a clock that jumped back. A little
-- later is the order in which events of one moment arrive, or another replica's clock.
if now >= ends or ends > latest + tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[1], 'count', 1, 'ends', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return 1
end
return redis.call('HINCRBY', KEYS[1], 'count', 1)

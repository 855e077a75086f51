-- Removes some of what has expired and returns how much that was.
-- KEYS: what expires, revocations by number, revocations by end. ARGV: now, how many, the prefix.
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, name in ipairs(due) do
  local table_name, key = string.match(name, '^([^:]*):(.*)$')
  -- What no gateway noted names nothing.
  if table_name then
    local record, sets = ARGV[3] .. ':' .. name, ARGV[3] .. ':index:' .. table_name .. ':'
    local fault = fault_of_indexes(record, sets)
    if fault then return fault end
    leave_indexes(record, sets, key)
    redis.call('DEL', record)
    redis.call('ZREM', ARGV[3] .. ':keys:' .. table_name, key)
  end
  redis.call('ZREM', KEYS[1], name)
end
local ended = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, entry in ipairs(ended) do
  redis.call('ZREM', KEYS[2], entry)
  redis.call('ZREM', KEYS[3], entry)
end
return math.max(#due, #ended)

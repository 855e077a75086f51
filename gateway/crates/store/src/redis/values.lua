-- One value, in one step that nobody can come between: all of it is done or nothing.
-- KEYS: the value (a hash), the table's keys in order, what expires, the indexes of the key.
-- ARGV: operation, key, its name among what expires, now, value, expires ("" = never),
--       when Redis itself may drop it, the value seen before, what the names of indexes begin with,
--       the names of those indexes as a JSON array ("" = none).
local operation, key, name, now = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local value, expires, backstop, seen = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local sets, indexes = ARGV[9], ARGV[10]

local function live()
  local found = redis.call('HMGET', KEYS[1], 'value', 'expires', 'used')
  if not found[1] then return nil end
  local ends = found[2] and tonumber(found[2])
  -- No record ends like that: its value is empty, which no record can be.
  if found[2] and not ends then return { value = '', used = found[3] } end
  if ends and now >= ends then return nil end
  return { value = found[1], used = found[3], ends = ends }
end

local function keep()
  if expires == '' then
    redis.call('HDEL', KEYS[1], 'expires')
    redis.call('PERSIST', KEYS[1])
    redis.call('ZREM', KEYS[3], name)
  else
    redis.call('HSET', KEYS[1], 'expires', expires)
    redis.call('PEXPIREAT', KEYS[1], backstop)
    redis.call('ZADD', KEYS[3], expires, name)
  end
end

-- HSET comes first: a server that is out of memory refuses a script only at its first write, and
-- only if that write is one that grows.
local function set(present)
  redis.call('HSET', KEYS[1], 'value', value)
  if not present then redis.call('HDEL', KEYS[1], 'used') end
  if not present or indexes ~= '' then
    place_in_indexes(KEYS[1], sets, key, indexes)
  end
  redis.call('ZADD', KEYS[2], 0, key)
  keep()
  enter_indexes(KEYS[1], sets, key)
end

local fault = fault_of_indexes(KEYS[1], sets)
if fault then return fault end
if operation == 'put' then
  set(nil)
  return { 'done' }
elseif operation == 'insert' then
  local found = live()
  if found then return { 'exists', found.value } end
  set(nil)
  return { 'new' }
elseif operation == 'replace' then
  local found = live()
  if not found or found.value ~= seen then return { 'other' } end
  set(found)
  return { 'done' }
elseif operation == 'take' then
  local found = live()
  if not found then return { 'unknown' } end
  if found.used then return { 'again', found.value } end
  redis.call('HSET', KEYS[1], 'used', '1')
  return { 'fresh', found.value }
elseif operation == 'extend' then
  local found = live()
  if not found then return { 'unknown' } end
  if found.ends and (expires == '' or tonumber(expires) > found.ends) then
    keep()
    enter_indexes(KEYS[1], sets, key)
  end
  return { 'done' }
elseif operation == 'remove' then
  leave_indexes(KEYS[1], sets, key)
  redis.call('ZREM', KEYS[2], key)
  redis.call('ZREM', KEYS[3], name)
  if redis.call('DEL', KEYS[1]) == 0 then return { 'unknown' } end
  return { 'done' }
end
return redis.error_reply('ERR unknown operation')

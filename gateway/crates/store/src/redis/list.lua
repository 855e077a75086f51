-- A part of a table, or of an index of it, in key order: where to go on ("" at the end), then key, value, key,
-- value. What is no record but stands where one should costs the rest nothing: its value is empty, which no
-- record can be. So much is looked at in one step and no more, whatever of it is there: Redis does nothing
-- else meanwhile.
-- KEYS: the keys of the table or the index in order. ARGV: what the names of values start with, where
-- to begin, how many, now, "index" for an index: it loses the keys of what is not there.
local LOOKED_AT, AT_ONCE = 1000, 100
local start, limit, now = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local page, found_in_page, looked_at, last = { '' }, 0, 0, nil
-- Mostly all are there: no more is read than is asked for, and more and more where that is not so.
local at_once = math.min(limit, AT_ONCE)
while found_in_page < limit do
  if looked_at >= LOOKED_AT then
    page[1] = last
    break
  end
  local keys = redis.call('ZRANGEBYLEX', KEYS[1], start, '+', 'LIMIT', 0, at_once)
  if #keys == 0 then break end
  for _, key in ipairs(keys) do
    local found = redis.pcall('HMGET', ARGV[1] .. key, 'value', 'expires')
    if found.err then
      if not string.find(found.err, 'WRONGTYPE', 1, true) then return found end
      found = { '' }
    end
    local ends = found[2] and tonumber(found[2])
    if found[2] and not ends then found = { '' } end
    local live = found[1] and not (ends and now >= ends)
    if live and found_in_page < limit then
      page[#page + 1] = key
      page[#page + 1] = found[1]
      found_in_page = found_in_page + 1
    elseif not found[1] and ARGV[5] == 'index' then
      redis.pcall('ZREM', KEYS[1], key)
    end
  end
  looked_at = looked_at + #keys
  last = keys[#keys]
  start = '(' .. last
  at_once = math.min(2 * at_once, AT_ONCE, LOOKED_AT - looked_at)
end
return page

-- The indexes of a record, for the scripts that this text is put before. The record's field `indexes`
-- names those that it is in, as a JSON array; each is a sorted set of keys in order. All change in one
-- step with the record.
-- `record`: the record's name. `sets`: what the names of its table's indexes begin with.

local function index_names(record)
  local text = redis.pcall('HGET', record, 'indexes')
  if type(text) ~= 'string' then return {} end
  local is_json, names = pcall(cjson.decode, text)
  if is_json and type(names) == 'table' then return names end
  return {}
end

-- Why an index that a record is in can't be changed now, asked before anything is: while its slot moves to
-- another server of a cluster, a part of it is there already, and Redis would stop a script in the middle.
local function fault_of_indexes(record, sets)
  for _, name in ipairs(index_names(record)) do
    local found = redis.pcall('EXISTS', sets .. name)
    if type(found) == 'table' and found.err then return found end
  end
end

-- Takes a record out of every index that it is in, but for those of a set of names. What stands there need
-- be no record.
local function leave_indexes(record, sets, key, kept)
  for _, name in ipairs(index_names(record)) do
    if not (kept and kept[name]) then redis.pcall('ZREM', sets .. name, key) end
  end
end

-- Says that a record is in these indexes and no others: a JSON array, or "" for none. Where it stays it is
-- not taken out: a set that is empty in between is none, and can't be made again while its slot moves.
local function place_in_indexes(record, sets, key, names)
  local present = redis.call('HGET', record, 'indexes') or ''
  if present == names then return end
  local kept = {}
  if names ~= '' then
    for _, name in ipairs(cjson.decode(names)) do kept[name] = true end
  end
  leave_indexes(record, sets, key, kept)
  if names == '' then
    redis.call('HDEL', record, 'indexes')
  else
    redis.call('HSET', record, 'indexes', names)
  end
end

-- Enters a record in the indexes that it says it is in. An index is kept for as long as the last of
-- what it names. How many did not name it before.
local function enter_indexes(record, sets, key)
  local left = redis.call('PTTL', record)
  if left == -2 then return 0 end
  local entered = 0
  for _, name in ipairs(index_names(record)) do
    local set = sets .. name
    local is_new_set = redis.call('EXISTS', set) == 0
    entered = entered + redis.call('ZADD', set, 0, key)
    local present = redis.call('PTTL', set)
    if left == -1 then
      if present >= 0 then redis.call('PERSIST', set) end
    elseif is_new_set or (present >= 0 and present < left) then
      redis.call('PEXPIRE', set, left)
    end
  end
  return entered
end


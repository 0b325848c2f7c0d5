"""The programs that the server runs, each in one go: nothing of anybody else's comes in between.

All of one system's keys are in one slot. Numbers are passed as text: Lua would write large ones another way.
"""

from __future__ import annotations

from papyra.persistence._redis.connecting import Script

_COUNT = """
local function text(number) return string.format('%.0f', number) end
local function milliseconds(id) return tonumber(string.match(id, '^(%d+)-')) end

-- What is counted of a stream is right only if it was from the stream's first entry on.
local function begin(meta, kind, length)
  local known = redis.call('HMGET', meta, kind .. ':records', kind .. ':ahead', kind .. ':behind')
  if length == 0 then
    if known[1] and known[1] ~= '0' then redis.call('HINCRBY', meta, kind .. ':epoch', 1) end
    return {is_counted = true, is_fresh = true}
  end
  return {is_counted = known[1], ahead = tonumber(known[2] or ''), behind = tonumber(known[3] or '')}
end

local function count(meta, kind, state, added)
  if state.is_fresh then
    redis.call('HSET', meta, kind .. ':records', added.records, kind .. ':bytes', text(added.bytes))
  elseif state.is_counted then
    redis.call('HINCRBY', meta, kind .. ':records', added.records)
    redis.call('HINCRBY', meta, kind .. ':bytes', text(added.bytes))
  end
  local ahead, behind = added.newest - added.first, added.last - added.oldest
  if state.is_fresh or (state.ahead and ahead > state.ahead) then
    redis.call('HSET', meta, kind .. ':ahead', text(ahead))
  end
  if state.is_fresh or (state.behind and behind > state.behind) then
    redis.call('HSET', meta, kind .. ':behind', text(behind))
  end
end

local function add(stream, kind, incarnation, seq, body)
  return redis.call('XADD', stream, '*', 'body', body, 'crc', string.sub(body, -10, -3),
    'incarnation', incarnation, 'kind', kind, 'seq', seq)
end
"""

APPEND = Script(
    _COUNT
    + """
-- KEYS: dedup, meta, the streams. ARGV: whether to write in any case; then of each run of neighbours: number
-- of its stream, kind, incarnation, first seq, how many, highest seq known to be acknowledged, oldest and
-- newest time in milliseconds, bodies. Returns the positions of those at or below the highest stored seq.
local dedup, meta = KEYS[1], KEYS[2]
if redis.call('EXISTS', dedup) == 0 then
  for at = 3, #KEYS do
    if redis.call('XLEN', KEYS[at]) > 0 then return {'unknown'} end
  end
end
local runs, highest, lost, at = {}, {}, {'lost'}, 2
while ARGV[at] do
  local run = {
    stream = KEYS[2 + tonumber(ARGV[at])], kind = ARGV[at + 1], incarnation = ARGV[at + 2],
    first = tonumber(ARGV[at + 3]), records = tonumber(ARGV[at + 4]),
    oldest = tonumber(ARGV[at + 6]), newest = tonumber(ARGV[at + 7]), bodies = at + 8,
  }
  run.field = run.incarnation .. ':' .. run.kind
  if not highest[run.field] then
    local known, stored = tonumber(ARGV[at + 5]), redis.call('HMGET', dedup, run.field, run.field .. '#floor')
    local floor, last = tonumber(stored[2] or 0), tonumber(stored[1] or 0)
    local is_emptied = redis.call('XLEN', run.stream) == 0 and floor <= known
    if known > 0 and (last < known or is_emptied) then
      lost[#lost + 1] = run.field
      lost[#lost + 1] = text(is_emptied and math.max(floor - 1, 0) or last)
    end
    highest[run.field] = last
  end
  runs[#runs + 1] = run
  at = run.bodies + run.records
end
if #lost > 1 then return lost end
local again, position = {'done'}, 0
for _, run in ipairs(runs) do
  local known = math.min(math.max(highest[run.field] - run.first + 1, 0), run.records)
  for offset = 0, known - 1 do again[#again + 1] = position + offset end
  if known < run.records then
    local state = begin(meta, run.kind, redis.call('XLEN', run.stream))
    local bytes, first, last = 0, nil, nil
    for offset = known, run.records - 1 do
      local body = ARGV[run.bodies + offset]
      last = add(run.stream, run.kind, run.incarnation, text(run.first + offset), body)
      first = first or last
      bytes = bytes + #body + 1
    end
    highest[run.field] = run.first + run.records - 1
    redis.call('HSET', dedup, run.field, text(highest[run.field]))
    count(meta, run.kind, state, {records = run.records - known, bytes = bytes, oldest = run.oldest,
      newest = run.newest, first = milliseconds(first), last = milliseconds(last)})
  end
  position = position + run.records
end
if ARGV[1] == '1' then redis.call('HINCRBY', meta, 'writes', 1) end
return again
"""
)

ADD_LATE = Script(
    _COUNT
    + """
-- KEYS: dedup, meta, stream. ARGV: kind, incarnation, seq, not before and not after which time in
-- milliseconds, body. Of two that race with the same number the first one wins; returns its checksum, or an
-- empty one for what retention removed. Where no higher number is stored it is not late: that returns, and
-- adds, nothing. What came late is known by checksum and entry, as long as that entry is there.
local dedup, meta, stream = KEYS[1], KEYS[2], KEYS[3]
local kind, incarnation, seq, body = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
local field = incarnation .. ':' .. kind
local late, checksum = field .. '#' .. seq, string.sub(body, -10, -3)
local before = redis.call('HMGET', dedup, late, field .. '#floor', field)
if tonumber(seq) > tonumber(before[3] or 0) then return false end
local known, entry = string.match(before[1] or '', '^(%x+) (%d+%-%d+)$')
if entry and #redis.call('XRANGE', stream, entry, entry) == 1 then return known end
if tonumber(seq) < tonumber(before[2] or 0) then return '' end
local state = begin(meta, kind, redis.call('XLEN', stream))
entry = add(stream, kind, incarnation, seq, body)
local at = milliseconds(entry)
redis.call('HSET', dedup, late, checksum .. ' ' .. entry)
count(meta, kind, state, {records = 1, bytes = #body + 1, oldest = tonumber(ARGV[4]),
  newest = tonumber(ARGV[5]), first = at, last = at})
return checksum
"""
)

COUNTED = Script("""
-- KEYS: a stream, meta. ARGV: names of counts. Returns its length and those; a full server runs this, too.
return {redis.call('XLEN', KEYS[1]), redis.call('HMGET', KEYS[2], unpack(ARGV))}
""")

LEARN = Script("""
-- KEYS: dedup. ARGV: fields and numbers, of all that is stored. What is known already stays if it is higher.
for at = 1, #ARGV, 2 do
  local before = tonumber(redis.call('HGET', KEYS[1], ARGV[at]) or 0)
  if tonumber(ARGV[at + 1]) > before then redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1]) end
end
redis.call('HSET', KEYS[1], 'learned', '1')
return 1
""")

COLUMNS = Script("""
-- KEYS: stream. ARGV: XRANGE or XREVRANGE, start, end, how many. Returns a line for each entry: id and size;
-- time where it says one; incarnation, seq, checksum and whether it may be a loss note where it has the usual
-- fields.
local lines = {}
for at, entry in ipairs(redis.call(ARGV[1], KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])) do
  local id, fields = entry[1], entry[2]
  local size = 1
  for value = 2, #fields, 2 do size = size + #fields[value] end
  local time = string.match(fields[2] or '', '"timestamp":%s*([%d.eE+%-]+)') or '-'
  local named = fields[1] .. ' ' .. (fields[3] or '') .. ' ' .. (fields[5] or '') .. ' ' .. (fields[7] or '')
    .. ' ' .. (fields[9] or '')
  local rest = ''
  if #fields == 10 and named == 'body crc incarnation kind seq' then
    size = #fields[2] + 1
    local words = fields[6] .. ' ' .. fields[10] .. ' ' .. fields[4]
    if string.match(words, '^[%w_.:%-]+ %d+ %x+$') then
      local is_note = fields[8] == 'event' and string.find(fields[2], '"event_type":"Records', 1, true)
      rest = ' ' .. words .. (is_note and ' note' or ' -')
    end
  end
  lines[at] = id .. ' ' .. size .. ' ' .. time .. rest
end
return table.concat(lines, '\\n')
""")

TRIM = Script("""
-- KEYS: dedup, meta, stream. ARGV: kind, id of the oldest entry, id of the first to stay, bytes that go, and
-- of each incarnation the field and the highest number that goes. Does nothing where the oldest is another.
local dedup, meta, stream, kind = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
if not oldest or oldest[1] ~= ARGV[2] then return 0 end
local removed = redis.call('XTRIM', stream, 'MINID', '=', ARGV[3])
for at = 5, #ARGV, 2 do
  local field, floor = ARGV[at] .. '#floor', tonumber(ARGV[at + 1]) + 1
  if floor > tonumber(redis.call('HGET', dedup, field) or 0) then
    redis.call('HSET', dedup, field, string.format('%.0f', floor))
  end
end
if redis.call('HEXISTS', meta, kind .. ':records') == 1 then
  redis.call('HINCRBY', meta, kind .. ':records', -removed)
  redis.call('HINCRBY', meta, kind .. ':bytes', '-' .. ARGV[4])
  redis.call('HINCRBY', meta, kind .. ':gone', removed)
  redis.call('HINCRBY', meta, kind .. ':gone_bytes', ARGV[4])
end
return removed
""")

RECKON = Script("""
-- KEYS: meta, stream. ARGV: kind, id behind the last counted entry, records, bytes, how far times are ahead
-- of and behind ids, and the ids of entries that repeat another. Takes a count made anew, unless something
-- was removed meanwhile.
local meta, stream, kind = KEYS[1], KEYS[2], ARGV[1]
local records, bytes = tonumber(ARGV[3]), tonumber(ARGV[4])
local ahead, behind = tonumber(ARGV[5]), tonumber(ARGV[6])
for _, entry in ipairs(redis.call('XRANGE', stream, ARGV[2], '+')) do
  local at = tonumber(string.match(entry[1], '^(%d+)-'))
  local time = tonumber(string.match(entry[2][2], '"timestamp":%s*([%d.eE+%-]+)') or '') or at / 1000
  records, bytes = records + 1, bytes + #entry[2][2] + 1
  ahead, behind = math.max(ahead, time * 1000 - at + 1), math.max(behind, at - time * 1000 + 1)
end
if records ~= redis.call('XLEN', stream) then return 0 end
local function text(number) return string.format('%.0f', number) end
redis.call('HDEL', meta, kind .. ':doubled') -- allowed on a full server, and so is then what follows
if ARGV[7] ~= '' then redis.call('HSET', meta, kind .. ':doubled', ARGV[7]) end
redis.call('HSET', meta, kind .. ':records', text(records), kind .. ':bytes', text(bytes),
  kind .. ':ahead', text(ahead), kind .. ':behind', text(behind))
redis.call('HINCRBY', meta, kind .. ':epoch', 1)
return 1
""")

SET_ASIDE = Script("""
-- KEYS: meta, stream, quarantine. ARGV: kind; of each entry: its id, its bytes, and what is kept of it. An
-- entry lies in quarantine before it leaves its stream.
local meta, stream, kind, moved = KEYS[1], KEYS[2], ARGV[1], {}
for at = 2, #ARGV, 3 do
  local id = ARGV[at]
  if #redis.call('XRANGE', stream, id, id) == 1 then
    redis.call('XADD', KEYS[3], '*', 'entry', ARGV[at + 2])
    redis.call('XDEL', stream, id)
    moved[#moved + 1] = id
    if redis.call('HEXISTS', meta, kind .. ':records') == 1 then
      redis.call('HINCRBY', meta, kind .. ':records', -1)
      redis.call('HINCRBY', meta, kind .. ':bytes', '-' .. ARGV[at + 1])
    end
  end
end
redis.call('HINCRBY', meta, kind .. ':epoch', 1)
if redis.call('HDEL', meta, kind .. ':doubled') == 1 then -- what was one of two may stand alone now
  redis.call('HDEL', meta, kind .. ':records')
end
return moved
""")

TAKE_LEASE = Script("""
-- KEYS: lease. ARGV: who, for how many milliseconds, and who is known to be gone. Returns who has it.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and holder ~= ARGV[3] then return holder end
redis.call('DEL', KEYS[1]) -- allowed on a full server, and so is then what follows: retention has to go on
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]
""")

GIVE_LEASE_BACK = Script("""
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
""")

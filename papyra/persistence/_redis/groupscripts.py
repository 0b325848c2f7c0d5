"""What the server does in one go about what a consumer group has pending."""

from __future__ import annotations

from papyra.persistence._redis.connecting import Script

_TAKE = """
-- Hand out once more what is pending with this consumer; that counts as so many times. What its stream has
-- lost is acknowledged: it never comes.
local function take(stream, group, me, row, counts, taken, gone)
  local id, deliveries = row[1], row[4] + counts
  local entry = redis.call('XRANGE', stream, id, id)[1]
  if entry then
    redis.call('XCLAIM', stream, group, me, 0, id, 'RETRYCOUNT', deliveries, 'JUSTID')
    taken[#taken + 1] = {id, deliveries, entry[2]}
  else
    redis.call('XACK', stream, group, id)
    gone[#gone + 1] = id
  end
end
"""

TAKE_OVER = Script(
    _TAKE
    + """
-- KEYS: stream. ARGV: group, consumer, how many, behind which id, for how many milliseconds at least nobody
-- attended to them. Returns where to go on (0-0: nowhere), what was taken, and what the stream has lost.
local rows = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[5], '(' .. ARGV[4], '+', ARGV[3])
local taken, gone = {}, {}
for _, row in ipairs(rows) do take(KEYS[1], ARGV[1], ARGV[2], row, 1, taken, gone) end
return {#rows == tonumber(ARGV[3]) and rows[#rows][1] or '0-0', taken, gone}
"""
)

RESUME = Script(
    _TAKE
    + """
-- KEYS: stream. ARGV: group, consumer, how many, behind which id, as how many times that counts. As
-- TAKE_OVER, of what is pending with the consumer itself.
local rows = redis.call('XPENDING', KEYS[1], ARGV[1], '(' .. ARGV[4], '+', ARGV[3], ARGV[2])
local taken, gone = {}, {}
for _, row in ipairs(rows) do take(KEYS[1], ARGV[1], ARGV[2], row, tonumber(ARGV[5]), taken, gone) end
return {#rows == tonumber(ARGV[3]) and rows[#rows][1] or '0-0', taken, gone}
"""
)

TAKE = Script(
    _TAKE
    + """
-- KEYS: stream. ARGV: group, consumer, for how many milliseconds at least nobody attended to them, ids. As
-- TAKE_OVER.
local taken, gone = {}, {}
for at = 4, #ARGV do
  local row = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', ARGV[3], ARGV[at], ARGV[at], 1)[1]
  if row then take(KEYS[1], ARGV[1], ARGV[2], row, 1, taken, gone) end
end
return {'0-0', taken, gone}
"""
)

ACKNOWLEDGE = Script("""
-- KEYS: stream. ARGV: group, ids. Returns how many were pending, the smallest id that still is, or else the
-- last that was delivered.
local acknowledged = 0
for at = 2, #ARGV, 1000 do
  local ids = {unpack(ARGV, at, math.min(at + 999, #ARGV))}
  acknowledged = acknowledged + redis.call('XACK', KEYS[1], ARGV[1], unpack(ids))
end
local smallest = redis.call('XPENDING', KEYS[1], ARGV[1])[2]
if smallest then return {acknowledged, smallest, ''} end
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local told = {}
  for at = 1, #group, 2 do told[group[at]] = group[at + 1] end
  if told['name'] == ARGV[1] then return {acknowledged, '', told['last-delivered-id']} end
end
""")

KEEP = Script("""
-- KEYS: stream. ARGV: group, consumer, ids. Returns those that are still the consumer's, to which it has
-- now attended.
local mine = {}
for at = 3, #ARGV do
  local row = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[at], ARGV[at], 1)[1]
  if row and row[2] == ARGV[2] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[at], 'JUSTID')
    mine[#mine + 1] = ARGV[at]
  end
end
return mine
""")

LEAVE = Script("""
-- KEYS: stream. ARGV: group, consumer, milliseconds, and of what it has and gives back: id, deliveries. From
-- now on it counts as neglected for so long. A consumer that has nothing left leaves no name.
for at = 4, #ARGV, 2 do
  local row = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[at], ARGV[at], 1)[1]
  if row and row[2] == ARGV[2] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[at], 'IDLE', ARGV[3], 'RETRYCOUNT', ARGV[at + 1],
      'JUSTID')
  end
end
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return 1
""")

TIDY = Script("""
-- KEYS: stream. ARGV: group, consumer, milliseconds. Consumers other than this one that have nothing pending
-- and did not show for so long are forgotten.
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local told = {}
  for at = 1, #consumer, 2 do told[consumer[at]] = consumer[at + 1] end
  if told['pending'] == 0 and told['idle'] > tonumber(ARGV[3]) and told['name'] ~= ARGV[2] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], told['name'])
  end
end
return 1
""")

SET_APART = Script("""
-- KEYS: stream, quarantine. ARGV: group, consumer, and of each entry: its id and what is kept of it. It lies
-- in quarantine before it is acknowledged, once; the stream keeps it. Returns how many.
local apart = 0
for at = 3, #ARGV, 2 do
  local row = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[at], ARGV[at], 1)[1]
  if row and row[2] == ARGV[2] then
    redis.call('XADD', KEYS[2], '*', 'entry', ARGV[at + 1])
    redis.call('XACK', KEYS[1], ARGV[1], ARGV[at])
    apart = apart + 1
  end
end
return apart
""")

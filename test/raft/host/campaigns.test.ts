import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { type Campaigner, Campaigns } from '../../../src/raft/host/campaigns.ts'

class Voter implements Campaigner {
  stopped = false
  campaigning = false
  isAsked = false
  dueMs = 0

  isCampaigning(): boolean {
    return this.campaigning
  }

  isElectionDue(nowMs: number): boolean {
    return nowMs >= this.dueMs
  }

  /** As a replica does when it is let. */
  campaign(nowMs: number): void {
    this.campaigning = true
    this.dueMs = nowMs + 300
  }
}

function voters(count: number): Voter[] {
  return Array.from({ length: count }, () => new Voter())
}

/** Lets those campaign that have a place. @returns who did */
function run(campaigns: Campaigns<Voter>, nowMs: number): Voter[] {
  const next = campaigns.next(nowMs)
  for (const voter of next) if (voter.isElectionDue(nowMs)) voter.campaign(nowMs)
  return next
}

suite('campaigns of a host', () => {
  test('are so many at a time, in the order in which they came', () => {
    const campaigns = new Campaigns<Voter>(2)
    const all = voters(5)
    for (const voter of all) assert.equal(campaigns.admit(voter, 0), false)
    assert.deepEqual(run(campaigns, 0), all.slice(0, 2))
    assert.deepEqual(run(campaigns, 10), [])
    const [first] = all as [Voter]
    first.campaigning = false
    assert.deepEqual(run(campaigns, 20), all.slice(2, 3))
    for (const voter of all) voter.campaigning = false
    assert.deepEqual(run(campaigns, 30), all.slice(3))
    assert.equal(campaigns.areWaiting, false)
  })

  test('hold nobody back who has something else to do, or for whom somebody waits', () => {
    const campaigns = new Campaigns<Voter>(0)
    const [later, asked] = voters(2) as [Voter, Voter]
    later.dueMs = 100
    asked.isAsked = true
    assert.ok(campaigns.admit(later, 50))
    assert.ok(campaigns.admit(asked, 50))
    assert.equal(campaigns.areWaiting, false)
  })

  test('that come to nothing make place for those who have not tried', () => {
    const campaigns = new Campaigns<Voter>(1)
    const [hopeless, other] = voters(2) as [Voter, Voter]
    campaigns.admit(hopeless, 0)
    assert.deepEqual(run(campaigns, 0), [hopeless])
    assert.equal(campaigns.admit(hopeless, 300), false)
    assert.equal(campaigns.admit(other, 300), false)
    assert.deepEqual(run(campaigns, 300), [other])
    other.campaigning = false
    assert.deepEqual(run(campaigns, 310), [hopeless])
  })

  test('are not begun by those who have heard of a leader while they waited', () => {
    const campaigns = new Campaigns<Voter>(1)
    const [first, second, third] = voters(3) as [Voter, Voter, Voter]
    for (const voter of [first, second, third]) campaigns.admit(voter, 0)
    assert.deepEqual(run(campaigns, 0), [first])
    first.campaigning = false
    second.dueMs = 500
    // The second is let go on as well, and takes no place.
    assert.deepEqual(run(campaigns, 10), [second, third])
    assert.equal(second.campaigning, false)
  })

  test('of replicas that have stopped, or were taken away, are over', () => {
    const campaigns = new Campaigns<Voter>(1)
    const [first, second, third, fourth] = voters(4) as [Voter, Voter, Voter, Voter]
    for (const voter of [first, second, third, fourth]) campaigns.admit(voter, 0)
    run(campaigns, 0)
    first.stopped = true
    campaigns.remove(second)
    assert.deepEqual(run(campaigns, 10), [third])
    campaigns.clear()
    assert.equal(campaigns.areWaiting, false)
    assert.deepEqual(run(campaigns, 20), [])
  })
})

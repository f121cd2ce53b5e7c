// `GET /api/v1/requests` and `GET /api/v1/sessions`: who calls, waits and runs.
import AdmissionCore
import BrokerEngine
import TextForms

extension AdminConsole {
  func requests(_ query: ConsoleQuery, tenant: String?, _ send: @escaping (Reply) -> Void) {
    do throws(QueryMistake) {
      let states: [(word: String, value: RequestRecord.State)] = [
        ("queued", .queued), ("running", .running), ("recent", .ended),
      ]
      let state = try query.choice("state", states)
      let limit = try query.number("limit", 1...1000) ?? 100
      let filter = RequestFilter(
        // Another tenant's requests are not shown, whatever is asked for.
        tenant: tenant ?? query["tenant"], session: query["session"],
        priority: try query.choice("priority", Priority.allCases.map { ($0.name, $0) }), provider: query["provider"])
      let isSlowest = try query.choice("sort", [("slowest", true), ("age", false)]) ?? false
      var records: [RequestRecord] = []
      if let tenant, let asked = query["tenant"], asked != tenant {
        // None of them is its own.
      } else if isSlowest {
        let some = state.map { Set([$0]) } ?? [.queued, .running, .ended]
        records = broker.requests.slowest(limit: limit, at: broker.now, some, filter)
      } else {
        for (_, one) in states where (state == nil || state == one) && records.count < limit {
          let left = limit - records.count
          records +=
            one == .ended
            ? broker.requests.recent(limit: left, filter) : broker.requests.alive(one, limit: left, filter)
        }
      }
      let listing = RequestListing(records, state: state, broker)
      pieces.add {
        guard listing.writeSome() else { return false }
        send(.json(listing.json))
        return true
      }
    } catch { send(.error(400, error.message)) }
  }

  func sessions(_ query: ConsoleQuery, tenant: String?, _ send: @escaping (Reply) -> Void) {
    do throws(QueryMistake) {
      var page = SessionsPage(
        search: query["search"].map { $0.lowercased() } ?? "", session: query["session"],
        sort: try query.choice("sort", SessionsPage.Sort.allCases.map { ($0.rawValue, $0) }) ?? .waiting,
        limit: try query.number("limit", 1...1000) ?? 100)
      if let tenant, let asked = query["tenant"], asked != tenant { page.search = "\u{0}" }
      let (clock, seats) = (broker.clock, broker.seats(tenant: tenant ?? query["tenant"]))
      let shown = page
      renderer.render({ .json(shown.json(SessionSums.sessions(of: seats), clock)) }, then: send)
    } catch { send(.error(400, error.message)) }
  }
}

/// Which sessions are shown, and in which order.
struct SessionsPage: Sendable {
  enum Sort: String, CaseIterable, Sendable { case waiting, running, tokens, cost, recent }

  /// In lower case; empty shows all. What is searched are names of tenants, sessions and agents.
  var search: String
  /// nil shows all.
  var session: String?
  var sort: Sort
  var limit: Int

  func json(_ all: [SessionSums], _ clock: SnapshotClock) -> [UInt8] {
    let found = all.filter(shows).map { (sums: $0, total: Self.total($0)) }
    let ordered = found.sorted { left, right in
      let (first, second) = (rank(left.total), rank(right.total))
      if first != second { return first > second }
      if left.total.lastAt != right.total.lastAt { return left.total.lastAt > right.total.lastAt }
      return (left.sums.tenant, left.sums.session) < (right.sums.tenant, right.sums.session)
    }
    var json = JSONWriter(reserving: 4096)
    json.object { json in
      json.key("sessions")
      json.array(ordered.prefix(limit)) { json, one in
        json.object { json in
          json.member("tenant", one.sums.tenant)
          json.member("session", one.sums.session)
          Self.members(&json, one.total, clock)
          json.key("agents")
          json.array(one.sums.agents) { json, agent in
            json.object { json in
              json.member("agent", agent.agent)
              Self.members(&json, agent, clock)
            }
          }
        }
      }
      json.member("left_out", max(0, ordered.count - limit))
    }
    return json.bytes
  }

  private func shows(_ one: SessionSums) -> Bool {
    if let session, one.session != session { return false }
    if search.isEmpty { return true }
    return one.tenant.lowercased().contains(search) || one.session.lowercased().contains(search)
      || one.agents.contains { $0.agent.lowercased().contains(search) }
  }

  private func rank(_ total: AgentSums) -> Int64 {
    switch sort {
    case .waiting: Int64(total.waiting)
    case .running: Int64(total.running)
    case .tokens: total.inputTokens.saturatingAdding(total.outputTokens)
    case .cost: total.cost.nanodollars
    case .recent: Int64(clamping: total.lastAt)
    }
  }

  private static func total(_ one: SessionSums) -> AgentSums {
    var total = one.agents[0]
    for agent in one.agents.dropFirst() {
      total.running += agent.running
      total.waiting += agent.waiting
      total.requests += agent.requests
      total.inputTokens = total.inputTokens.saturatingAdding(agent.inputTokens)
      total.outputTokens = total.outputTokens.saturatingAdding(agent.outputTokens)
      total.cost.add(agent.cost)
      total.firstAt = min(total.firstAt, agent.firstAt)
      total.lastAt = max(total.lastAt, agent.lastAt)
    }
    return total
  }

  private static func members(_ json: inout JSONWriter, _ sums: AgentSums, _ clock: SnapshotClock) {
    json.member("running", sums.running)
    json.member("waiting", sums.waiting)
    json.member("requests", sums.requests)
    json.member("input_tokens", sums.inputTokens)
    json.member("output_tokens", sums.outputTokens)
    json.member("cost_usd", billionths: sums.cost.nanodollars)
    json.member("first_at", time: clock.wallNanoseconds(at: sums.firstAt))
    json.member("last_at", time: clock.wallNanoseconds(at: sums.lastAt))
  }
}

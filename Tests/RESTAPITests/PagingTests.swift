import ControlProtocol
import DatabaseSupport
import Foundation
import HTTPTypes
import Identity
import Rules
import Storage
import Testing

@testable import RESTAPI

@Suite("Sorted lists, page by page")
struct PagingTests {
  /// What stands for the parameters of the paths, with something in every list.
  private func fill(_ api: TestAPI, _ token: String) async throws -> [String: String] {
    for name in ["b-set", "a-set", "c-set"] {
      let rules: JSONValue = .array(["z", "y", "x"].map { ["name": .string($0), "action": "drop", "match": [:]] })
      let sets: JSONValue = .array(
        ["late", "early", "ports"].map { set in
          set == "ports"
            ? ["name": .string(set), "type": "inet_service", "elements": ["53", "80-90", "1000"]]
            : [
              "name": .string(set), "type": "ipv4_addr", "counters": true,
              "elements": ["10.0.0.1", "10.0.0.0/8", "192.0.2.0/24"],
            ]
        })
      let chains: JSONValue = .array(["one", "two"].map { ["name": .string($0), "rules": []] })
      let body: JSONValue = ["name": .string(name), "rules": rules, "sets": sets, "chains": chains]
      let made = try await api.post("/rule-sets", token, body)
      #expect(made.status == 201, "\(made.text)")
    }
    _ = try await api.send(.put, "/rule-sets/a-set/rules", token, ["rules": []])
    for (index, interface) in ["eth2", "eth0", "eth1"].enumerated() {
      var body: [String: JSONValue] = ["interface": .string(interface)]
      if index > 0 { body["rule_set"] = .string(index == 1 ? "b-set" : "a-set") }
      #expect(try await api.post("/attachments", token, .object(body)).status == 201)
      _ = try await api.post("/captures", token, ["interface": .string(interface), "packet_limit": 1])
    }
    _ = try await api.post("/nodes", token, ["name": "far", "address": "unix:/run/far.sock"])
    var team = ""
    for name in ["ops", "dev"] {
      _ = try await api.post("/teams", token, ["name": .string(name)])
      _ = try await api.post("/roles", token, ["name": .string(name), "scopes": ["rules:read"]])
      _ = try await api.post("/api-clients", token, ["name": .string(name), "scopes": ["rules:read"]])
      team = name
      for kind in RoleHolder.Kind.allCases {
        let holder = try await api.caller(kind).holder
        _ = try await api.store.setMember(holder, ofTeam: team, role: "Team Viewer", if: { _ in })
        let resource = try await api.store.resource(.ruleSet, "b-set")
        _ = try await api.store.setGrant(of: resource, to: holder, role: "Viewer", if: { _ in })
      }
    }
    for kind in ["a-set", "b-set"] {
      let resource = try await api.store.resource(.ruleSet, kind)
      _ = try await api.store.setOwner(of: resource.ref, team: team, if: { _ in })
    }
    for name in ["two", "one"] {
      _ = try await api.store.createWebhook(
        NewWebhook(
          id: UUID(), name: name, url: "https://hooks.example.org/\(name)", sealedSecret: "s", kinds: [], isActive: true,
          createdBy: .system))
    }
    let webhook = try #require(try await api.get("/webhooks", token).items.first?["id"]?.string)
    let at = Date(timeIntervalSince1970: 1_795_275_527)
    for number in 0..<3 {
      try await api.store.recordTest(
        WebhookDelivery(
          eventID: 0, eventKind: "test", attempt: number, result: .delivered, status: 204, error: "", milliseconds: 1,
          at: at), ofWebhook: try #require(UUID(uuidString: webhook)))
    }
    let node = try await api.store.node(named: "local").id
    let events = (1...5).map { sequence in
      NewNodeEvent(
        position: EventPosition(epoch: 1, sequence: UInt64(sequence)), kind: "applied", interface: "eth0", message: "m",
        fields: [:], happenedAt: at)
    }
    try await api.store.recordEvents(events, ofNode: node)
    return [
      "name": "b-set", "node": "local", "set": "early", "team": team, "id": webhook, "kind": "rule-set", "resource": "b-set",
    ]
  }

  /// The whole list, so many at a time.
  private func walk(
    _ path: String, _ api: TestAPI, _ token: String, limit: Int = 1, _ between: (Int) async throws -> Void = { _ in }
  ) async throws -> [JSONValue] {
    var items: [JSONValue] = []
    var cursor = ""
    for number in 0..<200 {
      let separator = path.contains("?") ? "&" : "?"
      let answer = try await api.get("\(path)\(separator)limit=\(limit)\(cursor)", token)
      #expect(answer.status == 200, "\(path): \(answer.text)")
      items += answer.items
      guard let next = answer.meta["next_cursor"]?.string else { return items }
      #expect(answer.items.count == limit, "only the last page is short")
      #expect(answer.headers[.link]?.hasSuffix("cursor=\(next)>; rel=\"next\"") == true)
      cursor = "&cursor=\(next)"
      try await between(number)
    }
    Issue.record("\(path) has no end")
    return items
  }

  @Test("Every list walked by cursors is the list, in each of its orders and backwards", arguments: TestBackend.allCases)
  func all(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      let names = try await fill(api, token)
      var listed = 0
      for route in RouteTable.v1.routes {
        guard case .page(_, let order) = route.answer else { continue }
        var path = String(route.path.dropFirst(RouteTable.base.count))
        if path.hasPrefix("/nodes/") { path = path.replacing("{name}", with: "local") }
        if path.hasPrefix("/resources/") { path = path.replacing("{resource}", with: "b-set") }
        for parameter in route.pathParameters { path = path.replacing("{\(parameter)}", with: names[parameter] ?? "") }
        // Who asks leaves no record, but the audit log has been written since by nobody else either.
        let sorts = [""] + order.fields.flatMap { ["?sort=\($0.name)", "?sort=-\($0.name)"] }
        for sort in sorts {
          let separator = sort.isEmpty ? "?" : "&"
          let whole = try await api.get("\(path)\(sort)\(separator)limit=1000", token)
          #expect(whole.status == 200, "\(path)\(sort): \(whole.text)")
          #expect(whole.meta["next_cursor"] == nil)
          if sort.isEmpty { listed += whole.items.count > 1 ? 1 : 0 }
          for limit in [1, 2] where whole.items.count < 100 {
            let walked = try await walk(path + sort, api, token, limit: limit)
            #expect(walked.count == whole.items.count && Set(walked) == Set(whole.items), "\(path)\(sort)")
            #expect(walked == whole.items, "\(path)\(sort)")
          }
          if let field = sort.isEmpty ? nil : order.fields.first(where: { sort.hasSuffix($0.name) })?.name, path != "/users" {
            let values = whole.items.compactMap { $0[field]?.integer }
            #expect(values == values.sorted(by: sort.contains("=-") ? { $0 > $1 } : { $0 < $1 }), "\(path)\(sort)")
          }
        }
      }
      #expect(listed >= 20, "lists with more than one page")
    }
  }

  @Test("Two keys, one of them backwards, and values that are missing", arguments: TestBackend.allCases)
  func mixed(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await fill(api, token)
      let walked = try await walk("/attachments?sort=rule_set,-interface", api, token)
      #expect(walked.map { $0["rule_set"]?.string } == [nil, "a-set", "b-set"])
      let again = try await walk("/attachments?sort=-rule_set,rule_set,interface", api, token)
      #expect(again.map { $0["interface"]?.string } == ["eth0", "eth1", "eth2"])
    }
  }

  @Test("What is there all the time is told once while rows come and go", arguments: TestBackend.allCases)
  func moving(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      for index in 10..<30 { _ = try await api.makeUser([], email: "u\(index)@example.org") }
      for sort in ["email", "-email", "name", "-name,email"] {
        let walked = try await walk("/users?search=u&sort=\(sort)", api, token, limit: 3) { number in
          // One before and one behind, and every other one of those that came goes again.
          for email in ["u0\(number)\(sort.count)@example.org", "u99\(number)\(sort.count)@example.org"] {
            let made = try await api.makeUser([], email: email)
            if number % 2 == 0 { try await api.store.deleteUser(id: made.id) }
          }
        }
        let emails = walked.compactMap { $0["email"]?.string }
        #expect(Set(emails).count == emails.count, "\(sort)")
        let stayed = (10..<30).map { "u\($0)@example.org" }
        let seen = emails.filter { stayed.contains($0) }
        #expect(seen == (sort == "-email" ? stayed.reversed() : stayed) || sort == "name", "\(sort)")
        #expect(Set(emails).isSuperset(of: stayed), "\(sort)")
      }
    }
  }

  @Test("The row that the cursor stands on may go")
  func anchor() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      for name in ["a", "b", "c"] { _ = try await api.post("/teams", token, ["name": .string(name)]) }
      let names = try await walk("/teams", api, token) { number in
        if number == 0 { _ = try await api.send(.delete, "/teams/a", token) }
      }.map { $0["name"]?.string }
      #expect(names == ["a", "b", "c"])
    }
  }

  @Test("Rules are walked in one revision, elements by their numbers")
  func parts() async throws {
    try await TestAPI.with { api in
      let token = try await api.token()
      _ = try await fill(api, token)
      let rules = try await walk("/rule-sets/b-set/rules", api, token) { number in
        let body: JSONValue = ["name": .string("new-\(number)"), "action": "pass", "match": [:], "position": 0]
        let added = try await api.post("/rule-sets/b-set/rules", token, body)
        let removed = try await api.send(.delete, "/rule-sets/b-set/rules/\(["z", "y"][number])", token)
        #expect(added.status == 201 && removed.status == 200)
      }
      #expect(rules.map { $0["name"]?.string } == ["z", "y", "x"])
      let elements = try await walk("/rule-sets/b-set/sets/early/elements", api, token) { number in
        guard number < 3 else { return }
        let change = ["elements": JSONValue.strings(["9.0.0.\(number)", "200.0.0.\(number)"])]
        let answer = try await api.post("/rule-sets/b-set/sets/early/elements", token, .object(change))
        #expect(answer.status == 200)
      }
      let old = elements.compactMap(\.string).filter { !$0.hasPrefix("200.") }
      #expect(old == ["10.0.0.0/8", "10.0.0.1", "192.0.2.0/24"])
      #expect(Set(elements).count == elements.count)
    }
  }

  @Test("A cursor that was not given for this list, filter and sort is refused", arguments: TestBackend.allCases)
  func hostile(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let token = try await api.token()
      _ = try await fill(api, token)
      func cursor(_ path: String) async throws -> String {
        try #require(try await api.get(path, token).meta["next_cursor"]?.string)
      }
      func refused(_ query: String, _ field: String = "cursor") async throws {
        let answer = try await api.get(query, token)
        #expect(answer.status == 422 && answer.problemPaths == [field], "\(query): \(answer.text)")
      }
      let teams = try await cursor("/teams?limit=1")
      #expect(try await api.get("/teams?cursor=\(teams)", token).status == 200, "with another limit")
      #expect(try await api.get("/teams?cursor=\(teams)&offset=0", token).status == 200)
      try await refused("/teams?cursor=\(teams)&offset=1", "offset")
      try await refused("/roles?cursor=\(teams)")
      try await refused("/teams?sort=-name&cursor=\(teams)")
      let sets = try await cursor("/rule-sets/b-set/sets?limit=1")
      try await refused("/rule-sets/a-set/sets?cursor=\(sets)")
      let users = try await cursor("/users?search=e&limit=1")
      try await refused("/users?search=y&cursor=\(users)")
      for length in [0, 1, teams.count / 2, teams.count - 1] { try await refused("/teams?cursor=\(teams.prefix(length))") }
      for index in teams.indices {
        var flipped = teams
        flipped.replaceSubrange(index...index, with: teams[index] == "A" ? "B" : "A")
        try await refused("/teams?cursor=\(flipped)")
      }
      for text in ["%00", "..", "a=b", "AQ", String(repeating: "A", count: 4096), String(repeating: "A", count: 4097)] {
        try await refused("/teams?cursor=\(text)")
      }
      // As somebody makes them who has read how they are made.
      let route = try #require(RouteTable.v1.routes.first { $0.operation == "listTeams" })
      let query: JSONValue = ["limit": 100, "offset": 0]
      let forge = Cursor(route, path: [:], query: query)
      #expect(try await api.get("/teams?cursor=\(forge.text(["e"]))", token).items.map { $0["name"] } == ["ops"])
      let deep = (0..<100).reduce(JSONValue.null) { value, _ in .array([value]) }
      let positions: [[JSONValue]] = [
        [], ["a", "b"], [1], [.null], [true], [.number(1.5)], [["a"]], [["a": "b"]], ["a\0b"], [deep],
        Array(repeating: "a", count: 100),
      ]
      for position in positions { try await refused("/teams?cursor=\(forge.text(position))") }
      let rules = try #require(RouteTable.v1.routes.first { $0.operation == "listRules" })
      let part = Cursor(rules, path: ["name": "b-set"], query: query)
      for position: [JSONValue] in [[], ["a"], [1], [1, "a", 2]] {
        try await refused("/rule-sets/b-set/rules?cursor=\(part.text(position))")
      }
      #expect(try await api.get("/rule-sets/b-set/rules?cursor=\(part.text([99, 0]))", token).code == "not_found")
    }
  }

  @Test(
    "What a list cannot be sorted by is refused, with what it can",
    arguments: ["id", "", ",", "name,", "--name", "Name", "password_hash", "name%00", "name;DROP", "name desc", "-"])
  func badSort(_ sort: String) async throws {
    try await TestAPI.with { api in
      let text = sort.replacing(" ", with: "%20").replacing(";", with: "%3B")
      let answer = try await api.get("/teams?sort=\(text)", try await api.token())
      #expect(answer.problemPaths == ["sort"], "\(answer.text)")
      #expect(sort.isEmpty || sort.contains("%") || answer.message.contains("name, created_at, updated_at"))
    }
  }

  @Test("Who has a role for one set sees it among the sets, and only it", arguments: TestBackend.allCases, RoleHolder.Kind.allCases)
  func ownSets(_ backend: TestBackend, _ kind: RoleHolder.Kind) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.token()
      _ = try await fill(api, admin)
      let caller = try await api.caller(kind)
      #expect(try await api.get("/rule-sets/b-set/sets", caller.token).code == "missing_scope")
      for name in ["late", "early"] {
        let path = "/resources/set/b-set:\(name)/grants/\(caller.holder.text)"
        #expect(try await api.send(.put, path, admin, ["role": "Viewer"]).status == 200)
        let seen = try await walk("/rule-sets/b-set/sets", api, caller.token).map { $0["name"] }
        #expect(seen == (name == "late" ? ["late"] : ["early", "late"]))
      }
      #expect(try await api.get("/rule-sets/b-set/sets?limit=1", caller.token).meta["total"] == 2)
      #expect(try await api.get("/rule-sets/a-set/sets", caller.token).code == "not_found")
      #expect(try await api.get("/rule-sets/none/sets", caller.token).code == "not_found")
      #expect(try await api.get("/rule-sets/b-set/chains", caller.token).code == "not_found")
      #expect(try await api.get("/rule-sets/b-set", caller.token).code == "not_found")
      let others = try #require(try await api.get("/rule-sets/b-set/sets?limit=1", admin).meta["next_cursor"]?.string)
      #expect(try await api.get("/rule-sets/b-set/sets?cursor=\(others)", caller.token).problemPaths == ["cursor"])
    }
  }

  @Test("A cursor shows nobody more than he may see", arguments: TestBackend.allCases)
  func narrow(_ backend: TestBackend) async throws {
    try await TestAPI.with(backend) { api in
      let admin = try await api.token()
      _ = try await fill(api, admin)
      let caller = try await api.caller(.user)
      for name in ["a-set", "c-set"] {
        let resource = try await api.store.resource(.ruleSet, name)
        _ = try await api.store.setGrant(of: resource, to: caller.holder, role: "Viewer", if: { _ in })
      }
      let seen = try await walk("/rule-sets", api, caller.token).map { $0["name"] }
      #expect(seen == ["a-set", "c-set"])
      let others = try #require(try await api.get("/rule-sets?limit=1", admin).meta["next_cursor"]?.string)
      let answer = try await api.get("/rule-sets?cursor=\(others)", caller.token)
      #expect(answer.items.map { $0["name"] } == ["c-set"] && answer.meta["total"] == 2)
    }
  }
}

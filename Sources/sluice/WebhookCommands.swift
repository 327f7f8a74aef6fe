import ArgumentParser
import Foundation

struct WebhookCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "webhook", abstract: "Who is told of events by HTTP: applied, refused, rolled back, attach lost, …",
    discussion: """
      Each event is a POST of the JSON that `sluice events --json` prints, one after the other in their order, to a public
      https URL (others: SLUICE_WEBHOOK_PRIVATE_TARGETS of the API). Any 2xx answer says that it has arrived; after anything
      else it is sent again, ever later. Five failures in a row open the circuit: the target is left alone for a while, then
      a single event tries it. One of more than a day ago is given up after five.

      Answer at once and work later: an attempt ends after 10 s. An event may come twice where a copy of the API dies in the
      middle: Sluice-Delivery is the same for every attempt at one event.

      VERIFYING A SIGNATURE
        Sluice-Signature: t=1795275527,v1=5257a8…
        v1 is the HMAC-SHA256, by the webhook's secret, of the time, a dot and the body as it came, in hexadecimal. Compare it
        in constant time, and refuse a time that is more than five minutes away. In a shell, and in Python:

          printf '%s.%s' "$t" "$body" | openssl dgst -sha256 -hmac "$secret"

          expected = hmac.new(secret.encode(), t.encode() + b"." + body, "sha256").hexdigest()
          good = hmac.compare_digest(expected, v1) and abs(time.time() - int(t)) < 300

      EXAMPLES
        sluice webhook add pager https://hooks.example.org/sluice --type refused,rolled_back,attach_lost
        sluice webhook test pager
        sluice webhook deliveries pager --limit 20
        sluice webhook edit pager --inactive
        sluice webhook edit pager --new-secret
      """,
    subcommands: [List.self, Show.self, Add.self, Edit.self, Remove.self, Test.self, Deliveries.self])

  /// Of that name, or with that id.
  fileprivate static func find(_ webhook: String, _ api: APIClient) async throws -> JSON {
    let all = try await api.list("/webhooks")
    guard let found = all.first(where: { $0["name"].string == webhook || $0["id"].string == webhook.lowercased() }) else {
      throw CommandError(.notFound, "not_found", "there is no webhook \(webhook): see `sluice webhook list`")
    }
    return found
  }

  fileprivate static func path(_ webhook: JSON, _ more: String...) -> String {
    APIClient.path("webhooks", webhook["id"].string ?? "") + more.map { "/\($0)" }.joined()
  }

  fileprivate static func types(_ webhook: JSON) -> String {
    webhook["types"].elements.isEmpty ? "all" : webhook["types"].cell
  }

  /// `closed`, with how often it failed since it was told last.
  fileprivate static func state(_ webhook: JSON) -> String {
    guard webhook["is_active"].bool == true else { return "inactive" }
    let failures = webhook["failures"].integer ?? 0
    let since = failures == 0 ? "" : ", \(failures) failed"
    let next = webhook["circuit"].string == "open" ? ", tried \(webhook["next_attempt_at"].cell)" : ""
    return "\(webhook["circuit"].cell)\(since)\(next)"
  }

  fileprivate static func details(_ webhook: JSON) -> String {
    let rows = [
      ("name", webhook["name"].cell), ("id", webhook["id"].cell), ("url", webhook["url"].cell), ("types", types(webhook)),
      ("circuit", state(webhook)), ("delivered", webhook["delivered"].cell), ("given up", webhook["abandoned"].cell),
      ("last told", webhook["last_delivered_at"] == .null ? "never" : webhook["last_delivered_at"].cell),
      ("done with event", webhook["last_event"].cell), ("created by", webhook["created_by"]["email"].cell),
    ]
    return rows.map { name, value in
      Terminal.safe(name.padding(toLength: 16, withPad: " ", startingAt: 0) + value)
    }.joined(separator: "\n")
  }

  fileprivate static func secret(_ webhook: JSON) -> String {
    "secret (shown this once): \(Terminal.safe(webhook["secret"].cell))"
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "All webhooks, and how telling them goes.")
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let webhooks = try await api.list("/webhooks")
        var table = Table("WEBHOOK", "URL", "TYPES", "CIRCUIT", ">DELIVERED", ">GIVEN UP")
        for webhook in webhooks {
          table.add(
            webhook["name"].cell, webhook["url"].cell, types(webhook), state(webhook), webhook["delivered"].cell,
            webhook["abandoned"].cell)
        }
        options.output.write(.array(webhooks), table.text)
      }
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "One webhook.")
    @Argument(help: "Its name or id.")
    var webhook: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let found = try await find(webhook, api)
        options.output.write(found, details(found))
      }
    }
  }

  struct Add: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Tell a URL of events from now on; prints the secret that signs, this once.")
    @Argument(help: "Its name: lower case letters, digits, '.', '_', '-'.")
    var name: String
    @Argument(help: "The URL.")
    var url: String
    @Option(help: "Only events of these types; lists with commas.")
    var type: [String] = []
    @Flag(help: "Read a secret of your own from standard input, 16 bytes or more; else one is made.")
    var secretStdin = false
    @OptionGroup var options: APIOptions

    func run() async throws {
      var body: [String: JSON] = ["name": .string(name), "url": .string(url), "types": .strings(type.commaSeparated)]
      if secretStdin { body["secret"] = .string(try Prompt.standardInputLine()) }
      let request = JSON.object(body)
      try await options.withAPI { api in
        let made = try await api.call(.post, "/webhooks", body: request)["data"]
        options.output.write(made, "added webhook \(Terminal.safe(made["name"].cell))\n\(secret(made))")
      }
    }
  }

  struct Edit: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Change a webhook. Sent elsewhere, or made active again, it is told of what happens from now on.")
    @Argument(help: "Its name or id.")
    var webhook: String
    @Option(help: "A new name.")
    var name: String?
    @Option(help: "Another URL.")
    var url: String?
    @Option(help: "Only events of these types; lists with commas; 'all' for all.")
    var type: [String] = []
    @Flag(help: "Tell it of events again.")
    var active = false
    @Flag(help: "Tell it nothing.")
    var inactive = false
    @Flag(help: "Make a new secret, which signs from now on, and print it.")
    var newSecret = false
    @OptionGroup var options: APIOptions

    func run() async throws {
      var body: [String: JSON] = [:]
      if let name { body["name"] = .string(name) }
      if let url { body["url"] = .string(url) }
      if !type.isEmpty { body["types"] = type == ["all"] ? [] : .strings(type.commaSeparated) }
      guard !(active && inactive) else { throw CommandError.usage("--active and --inactive exclude each other") }
      if active || inactive { body["is_active"] = .bool(active) }
      guard !body.isEmpty || newSecret else { throw CommandError.usage("nothing to change: name an option, see --help") }
      let request = JSON.object(body)
      let changes = !body.isEmpty
      try await options.withAPI { api in
        let found = try await find(webhook, api)
        var changed = found
        if changes { changed = try await api.call(.patch, path(found), body: request)["data"] }
        if newSecret { changed = try await api.call(.post, path(found, "secret"))["data"] }
        options.output.write(changed, details(changed) + (newSecret ? "\n\(secret(changed))" : ""))
      }
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Delete a webhook; nobody is told any more.")
    @Argument(help: "Its name or id.")
    var webhook: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let found = try await find(webhook, api)
        _ = try await api.call(.delete, path(found))
        options.output.write(
          ["id": found["id"], "name": found["name"], "deleted": true],
          "removed webhook \(Terminal.safe(found["name"].cell))")
      }
    }
  }

  struct Test: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Send an event of the type ping now, and say what came of it.",
      discussion: """
        Whatever the circuit says; where it arrives, the events that wait are sent at once. Exit status 1 where it doesn't.
        """)
    @Argument(help: "Its name or id.")
    var webhook: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let found = try await find(webhook, api)
        let outcome = try await api.call(.post, path(found, "test"))["data"]
        let isGood = outcome["result"].string == "delivered"
        let name = Terminal.safe(found["name"].cell)
        guard isGood else {
          throw CommandError(
            .failure, "not_delivered", "\(name) was not told: \(Terminal.safe(outcome["error"].cell))", details: outcome)
        }
        options.output.write(outcome, "\(name) answered \(outcome["status"].cell) after \(outcome["duration_ms"].cell) ms")
      }
    }
  }

  struct Deliveries: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The last attempts to tell a webhook, newest first.")
    @Argument(help: "Its name or id.")
    var webhook: String
    @Option(help: "So many of the last ones.")
    var limit = 50
    @OptionGroup var options: APIOptions

    func validate() throws {
      guard (1...200).contains(limit) else { throw ValidationError("--limit: 1 to 200") }
    }

    func run() async throws {
      try await options.withAPI { api in
        let found = try await find(webhook, api)
        let page = [("limit", "\(limit)")]
        let deliveries = try await api.call(.get, path(found, "deliveries"), query: page)["data"].elements
        var table = Table("AT", "EVENT", "TYPE", ">ATTEMPT", "RESULT", ">STATUS", ">MS", "ERROR")
        for delivery in deliveries {
          table.add(
            delivery["at"].cell, delivery["event_id"].cell, delivery["event_type"].cell, delivery["attempt"].cell,
            delivery["result"].cell, delivery["status"].cell, delivery["duration_ms"].cell, delivery["error"].cell)
        }
        options.output.write(.array(deliveries), table.text)
      }
    }
  }
}

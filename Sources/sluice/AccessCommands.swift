import ArgumentParser
import Foundation

/// Scopes and how far they reach, as options of roles and clients.
struct GrantOptions: ParsableArguments {
  @Option(
    name: .customLong("scope"), parsing: .upToNextOption,
    help: "Scopes: area:verb, where admin holds write holds read and * is every area, such as rules:write or *:read.")
  var scopes: [String] = []
  @Option(
    name: .customLong("destinations"), parsing: .upToNextOption,
    help: "Only rules whose every destination lies in these prefixes may be written.")
  var destinations: [String] = []
  @Option(
    name: .customLong("actions"), parsing: .upToNextOption, help: "Only rules with these actions may be written.")
  var actions: [String] = []
  @Flag(help: "Take away the limits on destinations and actions.")
  var unlimited = false
  @Option(help: "What is it for?")
  var description: String?

  func fields() throws(CommandError) -> [String: JSON] {
    var fields: [String: JSON] = [:]
    if !scopes.isEmpty { fields["scopes"] = .strings(scopes) }
    if let description { fields["description"] = .string(description) }
    let isLimited = !destinations.isEmpty || !actions.isEmpty
    guard !(unlimited && isLimited) else { throw .usage("--unlimited and limits exclude each other") }
    if unlimited { fields["limits"] = .null }
    if isLimited {
      fields["limits"] = [
        "destinations": destinations.isEmpty ? .null : .strings(destinations),
        "actions": actions.isEmpty ? .null : .strings(actions),
      ]
    }
    return fields
  }

  static func limits(_ value: JSON) -> String {
    guard value != .null else { return "" }
    let parts = [
      value["destinations"] == .null ? nil : "to \(value["destinations"].cell)",
      value["actions"] == .null ? nil : value["actions"].cell,
    ]
    return parts.compactMap { $0 }.joined(separator: " ")
  }
}

struct RoleCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "role", abstract: "Roles made of selected scopes, beside Admin, Maintainer and Viewer.",
    discussion: """
      Nobody gives a scope that he doesn't hold himself. A role with limits is for who runs a part of the network: he
      writes rules about packets to his own prefixes, and cannot touch anybody else's.

      EXAMPLES
        sluice role create auditor --scope '*:read' audit:read
        sluice role create customer-a --scope rules:write --destinations 198.51.100.0/24 --actions drop pass
      """,
    subcommands: [List.self, Create.self, Update.self, Delete.self])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "All custom roles.")
    @OptionGroup var order: SortOptions
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let roles = try await api.list("/roles", query: order.query)
        var table = Table("ROLE", "SCOPES", "RULES LIMITED", "DESCRIPTION")
        for role in roles {
          table.add(
            role["name"].cell, role["scopes"].cell, GrantOptions.limits(role["limits"]), role["description"].cell)
        }
        options.output.write(.array(roles), table.text)
      }
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make a role.")
    @Argument(help: "Its name: lower case letters, digits, '.', '_', '-'.")
    var name: String
    @OptionGroup var grant: GrantOptions
    @Option(help: "Where it is given: global, team or resource.")
    var level: String?
    @OptionGroup var options: APIOptions

    func run() async throws {
      var body = try grant.fields()
      body["name"] = .string(name)
      if let level { body["level"] = .string(level) }
      let request = JSON.object(body)
      try await options.withAPI { api in
        let role = try await api.call(.post, "/roles", body: request)["data"]
        options.output.write(role, "created role \(role["name"].cell): \(role["grants"].cell)")
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Change a role, at once for everybody who has it.")
    @Argument(help: "The role.")
    var name: String
    @OptionGroup var grant: GrantOptions
    @OptionGroup var options: APIOptions

    func run() async throws {
      let fields = try grant.fields()
      guard !fields.isEmpty else { throw CommandError.usage("nothing to change: name an option, see --help") }
      try await options.withAPI { api in
        let role = try await api.call(.patch, APIClient.path("roles", name), body: .object(fields))["data"]
        options.output.write(role, "role \(role["name"].cell): \(role["grants"].cell)")
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Delete a role; not while an account has it.")
    @Argument(help: "The role.")
    var name: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        _ = try await api.call(.delete, APIClient.path("roles", name))
        options.output.write(["name": .string(name), "deleted": true], "deleted role \(Terminal.safe(name))")
      }
    }
  }
}

struct ClientCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "client", abstract: "API clients: programs with keys and scopes of their own.",
    discussion: """
      What a client may: its scopes, everywhere; its roles in teams (`sluice team member set`) and for single resources \
      (`sluice resource grant`), for those only.
      A key is shown once, when it is made. Programs send it as `Authorization: Bearer slk_…`; this command takes it \
      from SLUICE_API_KEY instead of signing in.

      EXAMPLES
        sluice client create monitoring --scope '*:read' --from 192.0.2.0/24
        sluice client key create monitoring --expires 90d
        sluice client key create monitoring --expires 90d --overlap 1d     # rotation: the others end in a day
        SLUICE_API_KEY=slk_… sluice counters
      """,
    subcommands: [List.self, Show.self, Create.self, Update.self, Delete.self, Key.self])

  /// The id of a client that is named by its name or id.
  static func id(of name: String, _ api: APIClient) async throws -> String {
    let all = try await api.list("/api-clients")
    guard let client = all.first(where: { $0["name"].string == name || $0["id"].string == name }),
      let id = client["id"].string
    else { throw CommandError(.notFound, "not_found", "there is no API client '\(Terminal.safe(name))'") }
    return id
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "All API clients and their keys.")
    @OptionGroup var order: SortOptions
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let clients = try await api.list("/api-clients", query: order.query)
        var table = Table("CLIENT", "ACTIVE", "SCOPES", "FROM", "KEY", "EXPIRES", "LAST USED", "BY")
        for client in clients {
          let keys = client["keys"].elements.isEmpty ? [JSON.null] : client["keys"].elements
          for key in keys {
            table.add(
              client["name"].cell, client["is_active"].cell, client["scopes"].cell, client["sources"].cell,
              key["prefix"].cell, key["expires_at"].cell, key["last_used_at"].cell, key["last_used_from"].cell)
          }
        }
        options.output.write(.array(clients), table.text)
      }
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "What an API client may, and where.")
    @Argument(help: "The client.")
    var name: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let id = try await ClientCommand.id(of: name, api)
        let client = try await api.call(.get, APIClient.path("api-clients", id))["data"]
        var table = Table("WHERE", "MAY", "RULES LIMITED")
        if !client["scopes"].elements.isEmpty {
          table.add("everywhere", client["scopes"].cell, GrantOptions.limits(client["limits"]))
        }
        for team in client["teams"].elements { table.add("team \(team["team"].cell)", team["role"].cell, "") }
        for thing in client["resources"].elements {
          table.add("\(thing["kind"].cell) \(thing["id"].cell)", thing["role"].cell, "")
        }
        options.output.write(client, table.text)
      }
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Create an API client; it can do nothing before it has a key.")
    @Argument(help: "Its name: lower case letters, digits, '.', '_', '-'.")
    var name: String
    @OptionGroup var grant: GrantOptions
    @Option(parsing: .upToNextOption, help: "Prefixes that its requests may come from. Without: from anywhere.")
    var from: [String] = []
    @OptionGroup var options: APIOptions

    func run() async throws {
      var body = try grant.fields()
      body["name"] = .string(name)
      body["sources"] = .strings(from)
      let request = JSON.object(body)
      try await options.withAPI { api in
        let client = try await api.call(.post, "/api-clients", body: request)["data"]
        options.output.write(client, "created client \(client["name"].cell): \(client["grants"].cell)")
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Change an API client, at once for all of its keys.")
    @Argument(help: "The client.")
    var name: String
    @OptionGroup var grant: GrantOptions
    @Option(parsing: .upToNextOption, help: "Prefixes that its requests may come from.")
    var from: [String] = []
    @Flag(help: "Let it come from anywhere.")
    var fromAnywhere = false
    @Flag(help: "Let its keys work again.")
    var enable = false
    @Flag(help: "Let none of its keys work.")
    var disable = false
    @OptionGroup var options: APIOptions

    func run() async throws {
      var fields = try grant.fields()
      guard from.isEmpty || !fromAnywhere, !enable || !disable else {
        throw CommandError.usage("--from and --from-anywhere exclude each other, and so do --enable and --disable")
      }
      if !from.isEmpty || fromAnywhere { fields["sources"] = .strings(from) }
      if enable || disable { fields["is_active"] = .bool(enable) }
      guard !fields.isEmpty else { throw CommandError.usage("nothing to change: name an option, see --help") }
      let request = JSON.object(fields)
      try await options.withAPI { api in
        let id = try await ClientCommand.id(of: name, api)
        let client = try await api.call(.patch, APIClient.path("api-clients", id), body: request)["data"]
        options.output.write(client, "client \(client["name"].cell): \(client["grants"].cell)")
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Delete an API client with its keys, at once.")
    @Argument(help: "The client.")
    var name: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        _ = try await api.call(.delete, APIClient.path("api-clients", try await ClientCommand.id(of: name, api)))
        options.output.write(["name": .string(name), "deleted": true], "deleted client \(Terminal.safe(name))")
      }
    }
  }

  struct Key: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "key", abstract: "Keys of an API client.", subcommands: [Create.self, Revoke.self])

    struct Create: AsyncParsableCommand {
      static let configuration = CommandConfiguration(
        abstract: "Make a key and print it, this once.",
        discussion: "With --overlap it takes the place of the client's other keys, which work for that time still.")
      @Argument(help: "The client.")
      var name: String
      @Option(help: "When it ends: 90d, 12h, 30m. Without: never.")
      var expires: String?
      @Option(help: "When the client's other keys end: 1d, 0s for at once.")
      var overlap: String?
      @OptionGroup var options: APIOptions

      func run() async throws {
        var body: [String: JSON] = [:]
        if let expires { body["expires_in_seconds"] = .integer(try Quantity.seconds(expires)) }
        if let overlap { body["overlap_seconds"] = .integer(try Quantity.seconds(overlap)) }
        let request = JSON.object(body)
        try await options.withAPI { api in
          let id = try await ClientCommand.id(of: name, api)
          let key = try await api.call(.post, APIClient.path("api-clients", id, "keys"), body: request)["data"]
          options.output.write(key, key["key"].cell)
          options.output.note("this key is not shown again; it is stored as a hash")
        }
      }
    }

    struct Revoke: AsyncParsableCommand {
      static let configuration = CommandConfiguration(abstract: "Revoke a key, at once.")
      @Argument(help: "The client.")
      var name: String
      @Argument(help: "The key: its visible part (slk_…) or its id, as `sluice client list` shows them.")
      var key: String
      @OptionGroup var options: APIOptions

      func run() async throws {
        try await options.withAPI { api in
          let id = try await ClientCommand.id(of: name, api)
          let client = try await api.call(.get, APIClient.path("api-clients", id))["data"]
          let match = client["keys"].elements.first { $0["prefix"].string == key || $0["id"].string == key }
          guard let keyID = match?["id"].string else {
            throw CommandError(.notFound, "not_found", "the client has no key '\(Terminal.safe(key))'")
          }
          _ = try await api.call(.delete, APIClient.path("api-clients", id, "keys", keyID))
          options.output.write(["key": .string(key), "revoked": true], "revoked \(Terminal.safe(key))")
        }
      }
    }
  }
}

extension Quantity {
  /// `90d`, `12h`, `30m`, `45s`.
  static func seconds(_ text: String) throws(CommandError) -> Int64 {
    let units: [Character: Int64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
    guard let unit = text.last.flatMap({ units[$0] }), let number = Int64(text.dropLast()), number >= 0,
      number <= 3650 * 86_400 / unit
    else { throw .usage("\"\(text)\" is no time: write 90d, 12h, 30m or 45s, at most 3650d") }
    return number * unit
  }
}

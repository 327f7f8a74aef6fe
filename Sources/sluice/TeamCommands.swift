import ArgumentParser
import Foundation

struct TeamCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "team", abstract: "Teams: people and programs that look after rule sets, nodes and attachments together.",
    discussion: """
      Roles in a team hold for what it owns: Team Admin (also members and grants), Team Maintainer, Team Viewer, or a
      custom role of the level team. A member is an account, by its email, or an API client, by its name.

      EXAMPLES
        sluice team create edge-ops
        sluice team member set edge-ops ops@example.org 'Team Maintainer'
        sluice team member set edge-ops deploy 'Team Maintainer'          # the API client deploy
        sluice resource give rule-set edge edge-ops
      """,
    subcommands: [List.self, Show.self, Create.self, Update.self, Delete.self, Member.self])

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "The teams that you may see.")
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let teams = try await api.list("/teams")
        var table = Table("TEAM", "DESCRIPTION")
        for team in teams { table.add(team["name"].cell, team["description"].cell) }
        options.output.write(.array(teams), table.text)
      }
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "A team's members, and what it owns.")
    @Argument(help: "The team.")
    var team: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let members = try await api.list(APIClient.path("teams", team, "members"))
        let resources = try await api.list(APIClient.path("teams", team, "resources"))
        var people = Table("MEMBER", "NAME", "ROLE")
        for member in members { people.add(member["holder"].cell, member["name"].cell, member["role"].cell) }
        var things = Table("OWNS", "NAME", "ID")
        for thing in resources { things.add(thing["kind"].cell, thing["name"].cell, thing["id"].cell) }
        options.output.write(
          ["members": .array(members), "resources": .array(resources)], people.text + "\n\n" + things.text)
      }
    }
  }

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make a team.")
    @Argument(help: "Its name: lower case letters, digits, '.', '_', '-'.")
    var team: String
    @Option(help: "What is it for?")
    var description = ""
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let made = try await api.call(
          .post, "/teams", body: ["name": .string(team), "description": .string(description)])["data"]
        options.output.write(made, "created team \(made["name"].cell)")
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Change a team's name or description.")
    @Argument(help: "The team.")
    var team: String
    @Option(help: "A new name.")
    var name: String?
    @Option(help: "What is it for?")
    var description: String?
    @OptionGroup var options: APIOptions

    func run() async throws {
      var body: [String: JSON] = [:]
      if let name { body["name"] = .string(name) }
      if let description { body["description"] = .string(description) }
      guard !body.isEmpty else { throw CommandError.usage("nothing to change: name an option, see --help") }
      let request = JSON.object(body)
      try await options.withAPI { api in
        let changed = try await api.call(.patch, APIClient.path("teams", team), body: request)["data"]
        options.output.write(changed, "team \(changed["name"].cell)")
      }
    }
  }

  struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Delete a team; what it owned belongs to no team any more.")
    @Argument(help: "The team.")
    var team: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        _ = try await api.call(.delete, APIClient.path("teams", team))
        options.output.write(["name": .string(team), "deleted": true], "deleted team \(Terminal.safe(team))")
      }
    }
  }

  struct Member: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "member", abstract: "Who is in a team.", subcommands: [Set.self, Remove.self])

    struct Set: AsyncParsableCommand {
      static let configuration = CommandConfiguration(abstract: "Take somebody in, or give him another role.")
      @Argument(help: "The team.")
      var team: String
      @Argument(help: "The account's email, or the API client's name.")
      var member: String
      @Argument(help: "Team Admin, Team Maintainer, Team Viewer, or a custom role of the level team.")
      var role: String
      @OptionGroup var options: APIOptions

      func run() async throws {
        try await options.withAPI { api in
          let path = APIClient.path("teams", team, "members", member)
          let set = try await api.call(.put, path, body: ["role": .string(role)])["data"]
          options.output.write(set, "\(set["holder"].cell) is \(set["role"].cell) of \(Terminal.safe(team))")
        }
      }
    }

    struct Remove: AsyncParsableCommand {
      static let configuration = CommandConfiguration(abstract: "Take somebody out.")
      @Argument(help: "The team.")
      var team: String
      @Argument(help: "The account's email, or the API client's name.")
      var member: String
      @OptionGroup var options: APIOptions

      func run() async throws {
        try await options.withAPI { api in
          _ = try await api.call(.delete, APIClient.path("teams", team, "members", member))
          options.output.write(
            ["holder": .string(member), "deleted": true],
            "\(Terminal.safe(member)) is not in \(Terminal.safe(team)) any more")
        }
      }
    }
  }
}

struct ResourceCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "resource", abstract: "Whose a rule set, node or attachment is; to whom these or a set are given.",
    discussion: """
      A resource is named by its kind (rule-set, set, node, attachment) and its name: of a set RULE-SET:SET, of an
      attachment its id. Who has a set may change its elements, and nothing else of the rule set.

      EXAMPLES
        sluice resource show rule-set edge
        sluice resource give rule-set edge edge-ops
        sluice resource grant rule-set edge guest@example.org Viewer
        sluice resource grant rule-set edge deploy Editor                 # the API client deploy
        sluice resource grant set edge:blocked soc@example.org Editor
      """,
    subcommands: [Show.self, Give.self, Grant.self, Revoke.self])

  struct Name: ParsableArguments {
    @Argument(help: "rule-set, set, node or attachment.")
    var kind: String
    @Argument(help: "Its name, of a set RULE-SET:SET; of an attachment its id.")
    var resource: String

    func path(_ more: String...) -> String {
      APIClient.path("resources", kind, resource) + more.map { APIClient.path($0) }.joined()
    }
  }

  struct Show: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Whose it is, and to whom it is given.")
    @OptionGroup var name: Name
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let resource = try await api.call(.get, name.path())["data"]
        let grants = try await api.list(name.path("grants"))
        var table = Table("GIVEN TO", "AS")
        for grant in grants { table.add(grant["holder"].cell, grant["role"].cell) }
        options.output.write(
          ["resource": resource, "grants": .array(grants)],
          "\(resource["kind"].cell) \(resource["name"].cell), team: \(resource["team"].cell)\n\n\(table.text)")
      }
    }
  }

  struct Give: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Give it to a team, or to none.")
    @OptionGroup var name: Name
    @Argument(help: "The team. Without: none.")
    var team: String?
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let body: JSON = ["team": .optional(team)]
        let resource = try await api.call(.put, name.path("team"), body: body)["data"]
        options.output.write(
          resource, "\(resource["kind"].cell) \(resource["name"].cell), team: \(resource["team"].cell)")
      }
    }
  }

  struct Grant: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Give it to somebody by itself.")
    @OptionGroup var name: Name
    @Argument(help: "The account's email, or the API client's name.")
    var holder: String
    @Argument(help: "Owner, Editor, Viewer, or a custom role of the level resource.")
    var role: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        let grant = try await api.call(.put, name.path("grants", holder), body: ["role": .string(role)])["data"]
        options.output.write(grant, "\(grant["holder"].cell) is \(grant["role"].cell) of \(Terminal.safe(name.resource))")
      }
    }
  }

  struct Revoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Take it away from somebody.")
    @OptionGroup var name: Name
    @Argument(help: "The account's email, or the API client's name.")
    var holder: String
    @OptionGroup var options: APIOptions

    func run() async throws {
      try await options.withAPI { api in
        _ = try await api.call(.delete, name.path("grants", holder))
        options.output.write(
          ["holder": .string(holder), "deleted": true],
          "\(Terminal.safe(holder)) has no grant of \(Terminal.safe(name.resource)) any more")
      }
    }
  }
}

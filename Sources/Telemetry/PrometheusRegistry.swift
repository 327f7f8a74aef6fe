public import CoreMetrics
import Synchronization

/// All metrics of a process, as Prometheus reads them. Any thread.
///
/// Two ways in: as the back end of swift-metrics (`MetricsSystem.bootstrap(registry)`), for what happens in this
/// process; and collectors, which are asked at each scrape, for what is counted elsewhere (the kernel, a worker).
public final class PrometheusRegistry: MetricsFactory {
  /// Adds families to a scrape. Runs at each scrape, one after the other; what takes long delays the answer.
  public typealias Collector = @Sendable (inout Exposition) async -> Void

  /// Series of one swift-metrics instrument name. One more is not exposed, and is counted in
  /// `sluice_telemetry_series_dropped_total`: labels come from requests and must not exhaust the memory. The API's 131 routes with the ten
  /// statuses that each may answer have room.
  public static let seriesPerInstrumentMax = 4096
  /// Names of swift-metrics instruments.
  public static let instrumentNamesMax = 1000

  private struct Description {
    var help: String
    var bounds: [Double]?
  }
  private struct Series {
    var labels: [(String, String)]
    var instrument: any Instrument
  }
  private struct Family {
    var type: MetricType
    var help: String
    var series: [String: Series] = [:]
  }
  private struct State {
    var descriptions: [String: Description] = [:]
    var families: [String: Family] = [:]
    var collectors: [Collector] = []
    var droppedSeries: UInt64 = 0
  }
  private let state = Mutex(State())
  /// The exposition of the last scrape, for its buffers; taken while a scrape runs.
  private let spare = Mutex<Exposition?>(nil)

  public init() {}

  /// Says what the instrument `label` of swift-metrics measures. For a timer or a recorder, `bounds` are the upper
  /// bounds of its buckets (seconds for a timer), ascending. To be called before the instrument is first used.
  public func describe(_ label: String, help: String, bounds: [Double]? = nil) {
    state.withLock { $0.descriptions[label] = Description(help: help, bounds: bounds) }
  }

  /// Asks `collector` at every scrape from now on.
  public func addCollector(_ collector: @escaping Collector) {
    state.withLock { $0.collectors.append(collector) }
  }

  /// `sluice_build_info`, constant 1, with what is running as labels.
  public func addBuildInfo(program: String, version: String) {
    addCollector { exposition in
      exposition.family("sluice_build_info", .gauge, help: "What is running; always 1.") {
        $0.sample(["program": program, "version": version], UInt64(1))
      }
    }
  }

  /// One scrape: everything as text, format 0.0.4 (``Exposition/contentType``).
  public func render() async -> [UInt8] {
    var exposition = spare.withLock { spare in
      defer { spare = nil }
      return spare
    } ?? Exposition()
    exposition.reset()
    for collect in state.withLock({ $0.collectors }) { await collect(&exposition) }
    writeInstruments(to: &exposition)
    let text = exposition.text()
    spare.withLock { [exposition] in $0 = exposition }
    return text
  }

  private func writeInstruments(to exposition: inout Exposition) {
    let (families, refused) = state.withLock { ($0.families, $0.droppedSeries) }
    for (name, family) in families {
      exposition.family(name, family.type, help: family.help) { samples in
        for series in family.series.values { series.instrument.write(series.labels, to: &samples) }
      }
    }
    let left = exposition.droppedSeries
    exposition.family(
      "sluice_telemetry_series_refused_total", .counter,
      help: "Instruments not exposed, because their metric has too many series or another type."
    ) { $0.sample(refused) }
    exposition.family(
      "sluice_telemetry_scrape_series_dropped", .gauge,
      help: "Series that collectors offered in this scrape and that were left out."
    ) { $0.sample(left) }
  }

  // MARK: The back end of swift-metrics

  /// The instrument of a name and labels, made where there is none; a stray one, which nobody reads, beyond the limits.
  private func instrument<Kind: Instrument>(
    _ label: String, suffix: String = "", _ type: MetricType, _ dimensions: [(String, String)],
    make: (_ bounds: [Double]?) -> Kind
  ) -> Kind {
    let name = MetricName.metric(label.hasSuffix(suffix) ? label : label + suffix, type)
    let labels = dimensions.sorted { $0.0 < $1.0 }
    let key = labels.map { "\($0.0.utf8.count):\($0.0)\($0.1.utf8.count):\($0.1)" }.joined()
    return state.withLock { state in
      let description = state.descriptions[label]
      if let known = state.families[name]?.series[key]?.instrument as? Kind { return known }
      let instrument = make(description?.bounds)
      let family = state.families[name]
      let isFull = family.map { $0.series.count >= Self.seriesPerInstrumentMax }
        ?? (state.families.count >= Self.instrumentNamesMax)
      guard !isFull, family?.type ?? type == type, family?.series[key] == nil else {
        state.droppedSeries += 1
        return instrument
      }
      let help = description?.help ?? "Instrument \(label)."
      state.families[name, default: Family(type: type, help: help)].series[key] =
        Series(labels: labels, instrument: instrument)
      return instrument
    }
  }

  public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
    instrument(label, .counter, dimensions) { _ in CounterInstrument() }
  }
  public func makeFloatingPointCounter(
    label: String, dimensions: [(String, String)]
  ) -> any FloatingPointCounterHandler {
    instrument(label, .counter, dimensions) { _ in FloatingPointCounterInstrument() }
  }
  public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
    instrument(label, .gauge, dimensions) { _ in GaugeInstrument() }
  }
  public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
    if aggregate {
      instrument(label, .histogram, dimensions) { HistogramInstrument(bounds: $0 ?? HistogramInstrument.sizeBounds) }
    } else {
      instrument(label, .gauge, dimensions) { _ in GaugeInstrument() }
    }
  }
  /// In seconds: the metric's name ends in `_seconds`.
  public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
    instrument(label, suffix: "_seconds", .histogram, dimensions) {
      HistogramInstrument(bounds: $0 ?? HistogramInstrument.durationBounds)
    }
  }

  public func destroyCounter(_ handler: any CounterHandler) { remove(handler) }
  public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { remove(handler) }
  public func destroyMeter(_ handler: any MeterHandler) { remove(handler) }
  public func destroyRecorder(_ handler: any RecorderHandler) { remove(handler) }
  public func destroyTimer(_ handler: any TimerHandler) { remove(handler) }

  private func remove(_ handler: AnyObject) {
    state.withLock { state in
      for (name, family) in state.families {
        guard let key = family.series.first(where: { $0.value.instrument === handler })?.key else { continue }
        state.families[name]?.series[key] = nil
        if state.families[name]?.series.isEmpty == true { state.families[name] = nil }
        return
      }
    }
  }
}
